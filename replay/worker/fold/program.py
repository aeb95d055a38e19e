"""A fold engine that runs a program in any language, by the protocol in `docs/protocol.md`.

The program reads events as JSON lines on its standard input and answers each with one line on its
standard output. This module turns batches into lines and answers into changes; it validates every
answer.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

from ..protocol import encoding, line_protocol
from ..protocol.event import Event, EventBatch, build_decoder, build_event
from ..protocol.line_protocol import ProgramConnection, ProtocolError
from ..protocol.text_limits import escape_surrogates
from .result import NO_CHANGE, ResultColumns


def files(command: Sequence[str]) -> List[str]:
    """Return the absolute paths of the words of a command that are files."""
    return [os.path.abspath(word) for word in command if os.path.isfile(word)]


class ProgramFoldEngine:
    """Folds batch after batch through a program; implements `FoldEngine`."""

    restores_from_json = True
    can_reset = False
    can_merge = False
    uses_exact_encoding = False
    can_share_documents = False
    held_documents = 0

    def __init__(
        self, program: ProgramConnection, current_event: Any, name: str, *, resuming: bool
    ) -> None:
        ready = program.greet(resuming=resuming)
        self.name = name
        self.is_routed = ready.get("routes") is True
        self.invariant_conditions = _parse_conditions(ready.get("invariants", {}))
        words = [os.path.basename(w) if os.path.isfile(w) else w for w in program.command]
        self.runtime = json.dumps([ready.get("runtime"), *words])
        """The command is part of the projection's identity; the folders of its files are not."""
        self.decode = build_decoder(decimals=False)
        self._program = program
        self._current_event = current_event
        self._encode = encoding.build_plain_encoder()
        self._texts: Dict[str, Optional[bytes]] = {}
        self._changes: Dict[str, int] = {}
        self._next_change = 0
        self._documents_to_restore: List[bytes] = []
        self.only_keys: Optional[Set[str]] = None
        """The only keys that may change; None if all may."""

    def release_memory(self) -> None:
        """Do nothing: the documents take memory only in the program."""

    def list_files(self) -> List[str]:
        """Return the files in the command; refold knows no other code of the program."""
        return files(self._program.command)

    def find_missing_keys(self, batch: EventBatch) -> List[str]:
        """Return the keys that the batch reaches and that the program doesn't know yet."""
        if not self.is_routed:
            keys = [stream for stream in batch.streams if stream is not None]
        else:
            keys = [
                key for answer in self._exchange(batch, "route") for key in _parse_route(answer)
            ]
        return [key for key in dict.fromkeys(keys) if key not in self._changes]

    def route_events(self, batch: EventBatch) -> List[List[str]]:
        """Return the keys that each event reaches."""
        if not self.is_routed:
            return [[] if s is None else [s] for s in batch.streams_of_events()]
        return [_parse_route(answer) for answer in self._exchange(batch, "route")]

    def merge_documents(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:  # noqa: ARG002 - part of the interface
        """Return an empty list: the protocol can't merge."""
        return []

    def reset(self) -> None:
        """Do nothing: the protocol can't tell a program to forget its documents."""

    def set_next_change(self, change: int) -> None:
        """Set the number of the next change; later changes count up from it."""
        self._next_change = change

    def resume(self, key: str, change: int, state: Optional[bytes]) -> None:
        """Restore a document in the program from its JSON; None for a deleted document."""
        self._changes[key], self._texts[key] = change, state
        if state is not None:
            document = b'{"document":%b,"state":%b}' % (json.dumps(key).encode(), state)
            self._documents_to_restore.append(document)

    def add_absent_documents(self, keys: List[str]) -> None:
        """Note that the keys that aren't known by now never had a document."""
        for key in keys:
            self._changes.setdefault(key, NO_CHANGE)

    def all_round_trip_json(self) -> bool:
        """Return True: a program's states are JSON."""
        return True

    def _encode_state(self, state: Any) -> bytes:
        try:
            text: bytes = self._encode(state)
        except UnicodeEncodeError:
            text = encoding.encode_exactly(state)  # the state contains a lone surrogate
        return text

    def take_probe_findings(self) -> List[Dict[str, Any]]:
        """Return an empty list: the protocol has no probes."""
        return []

    def fold(self, batch: EventBatch) -> ResultColumns:
        """Send a batch's events to the program and return what its answers changed.

        Raises `ProtocolError` if an answer is invalid.
        """
        result = ResultColumns()
        for index, answer in enumerate(self._exchange(batch, "event")):
            event = build_event(batch, index, None)
            line_protocol.validate_answer(answer, event.stream, may_route=self.is_routed)
            if "error" in answer:
                result.failures.append(_build_failure(event, answer))
            elif "skipped" in answer:
                name = str(event.type)
                result.unhandled_by_type[name] = result.unhandled_by_type.get(name, 0) + 1
            else:
                self._add_changes(result, index, answer)
        return result

    def _exchange(self, batch: EventBatch, message_kind: str) -> Iterator[Dict[str, Any]]:
        """Yield the program's answer to each event of a batch, in order; raises `ProtocolError`."""
        lines = self._documents_to_restore + _build_lines(batch, message_kind)
        self._documents_to_restore = []
        writer_thread = self._program.send_lines(lines)
        for index in range(batch.event_count):
            offset = batch.offset(index)
            self._current_event[0] = offset
            answer = self._program.read_answer("the event")
            answered_offset = answer.get("offset")
            if (
                answered_offset != offset
                or not isinstance(answered_offset, int)
                or isinstance(answered_offset, bool)
            ):
                raise ProtocolError(
                    f"answered {line_protocol.shorten_json(answer)}, which doesn't answer the event"
                )
            yield answer
        writer_thread.join()

    def _add_changes(self, result: ResultColumns, index: int, answer: Dict[str, Any]) -> None:
        changes = {escape_surrogates(key): state for key, state in answer["changes"].items()}
        for key_place, (key, state) in enumerate(changes.items()):
            if self.only_keys is not None and key not in self.only_keys:
                continue
            result.route_rows.append(index)
            result.route_keys.append(key)
            result.route_places.append(key_place)
            text = None if state is None else self._encode_state(state)
            if text == self._texts.get(key):
                continue
            self._texts[key] = text
            result.previous_changes.append(self._changes.get(key, NO_CHANGE))
            self._changes[key] = self._next_change
            self._next_change += 1
            result.event_rows.append(index)
            result.key_places.append(key_place)
            result.states.append(text)
            result.keys.append(key)


def _build_lines(batch: EventBatch, message_kind: str) -> List[bytes]:
    """Return a line for each event; `data` and `meta` are byte for byte what the log holds."""
    datas, metas = batch.texts("data"), batch.texts("meta")
    return [
        line_protocol.format_event_line(
            message_kind, build_event(batch, index, None), datas[index], metas[index]
        )
        for index in range(batch.event_count)
    ]


def _parse_route(answer: Dict[str, Any]) -> List[str]:
    keys = answer.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ProtocolError(
            f"answered a route with keys that aren't a list of texts: {line_protocol.shorten_json(keys)}"
        )
    return keys


def _build_failure(event: Event, answer: Dict[str, Any]) -> Dict[str, Any]:
    error, key = answer["error"], answer.get("key")
    return {
        "offset": event.offset,
        "key": escape_surrogates(key) if isinstance(key, str) else event.stream,
        "type": event.type,
        "error": escape_surrogates(error),
        "traceback": escape_surrogates(str(answer.get("traceback") or error)),
    }


def _parse_conditions(declared: Any) -> Dict[str, str]:
    if not isinstance(declared, dict) or not all(isinstance(v, str) for v in declared.values()):
        raise ProtocolError("declares invariants that aren't an object of texts")
    return dict(declared)
