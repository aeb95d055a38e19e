"""A program of any language that folds, seen as the worker's folder: `docs/protocol.md`.

It reads events as JSON lines on its standard input, and answers each with one line on its standard
output. This side turns batches into lines and answers into changes; it trusts no answer.
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
    """The words of a command that are files."""
    return [os.path.abspath(word) for word in command if os.path.isfile(word)]


class ProgramFoldEngine:
    """Folds batch after batch through a program; see `refold_worker.fold.fold_loop.Folder`."""

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
        """Another command is another projection; where its files lie doesn't matter."""
        self.decode = build_decoder(decimals=False)
        self._program = program
        self._current_event = current_event
        self._encode = encoding.build_plain_encoder()
        self._texts: Dict[str, Optional[bytes]] = {}
        self._changes: Dict[str, int] = {}
        self._next_change = 0
        self._documents_to_restore: List[bytes] = []
        self.only_keys: Optional[Set[str]] = None
        """The keys that may change, where not all may."""

    def release_memory(self) -> None:
        """They take room in the program only."""

    def list_files(self) -> List[str]:
        """Those of its command's words that are files: its code, as far as anybody can know."""
        return files(self._program.command)

    def find_missing_keys(self, batch: EventBatch) -> List[str]:
        """Keys that the batch will reach and that the program wasn't told of yet."""
        if not self.is_routed:
            keys = [stream for stream in batch.streams if stream is not None]
        else:
            keys = [
                key for answer in self._exchange(batch, "route") for key in _parse_route(answer)
            ]
        return [key for key in dict.fromkeys(keys) if key not in self._changes]

    def route_events(self, batch: EventBatch) -> List[List[str]]:
        """The keys that each event reaches."""
        if not self.is_routed:
            return [[] if s is None else [s] for s in batch.streams_of_events()]
        return [_parse_route(answer) for answer in self._exchange(batch, "route")]

    def merge_documents(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:  # noqa: ARG002 - as it can't
        """The protocol has no question for it."""
        return []

    def reset(self) -> None:
        """A program holds its documents itself, and nobody can tell it to forget them."""

    def set_next_change(self, change: int) -> None:
        """Number the next change so, and those after it in turn."""
        self._next_change = change

    def resume(self, key: str, change: int, state: Optional[bytes]) -> None:
        """Give a document back to the program."""
        self._changes[key], self._texts[key] = change, state
        if state is not None:
            document = b'{"document":%b,"state":%b}' % (json.dumps(key).encode(), state)
            self._documents_to_restore.append(document)

    def unborn(self, keys: List[str]) -> None:
        """Remember of those keys that aren't known by now that they never had a document."""
        for key in keys:
            self._changes.setdefault(key, NO_CHANGE)

    def all_round_trip_json(self) -> bool:
        """What comes as JSON goes back as JSON."""
        return True

    def _encode_state(self, state: Any) -> bytes:
        try:
            text: bytes = self._encode(state)
        except UnicodeEncodeError:
            text = encoding.encode_exactly(state)  # it holds half a surrogate pair
        return text

    def take_probe_findings(self) -> List[Dict[str, Any]]:
        """A program's documents are its own: nothing can be tried on them."""
        return []

    def fold(self, batch: EventBatch) -> ResultColumns:
        """Give the program a batch's events and take its answers; raises `ProtocolError`."""
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
        """The answers to a batch's events, one each, in their order."""
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
                    f"answered {line_protocol.shorten_json(answer)} where another one is next,"
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
    """A line for each event; the data is what the log holds, byte for byte."""
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
            f"answered a route with keys that are no list of texts: {line_protocol.shorten_json(keys)}"
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
        raise ProtocolError("declares invariants that are no object of conditions")
    return dict(declared)
