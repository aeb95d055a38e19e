"""A program of any language that folds, seen as the worker's folder: `docs/protocol.md`.

It reads events as JSON lines on its standard input, and answers each with one line on its standard
output. This side turns batches into lines and answers into changes; it trusts no answer.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

from ..protocol import encoding, line_protocol
from ..protocol.event import Batch, Event, decoder, event_of
from ..protocol.line_protocol import ProtocolError, Speaker
from ..protocol.text_limits import carried
from .result import UNCHANGED, Result


def files(command: Sequence[str]) -> List[str]:
    """The words of a command that are files."""
    return [os.path.abspath(word) for word in command if os.path.isfile(word)]


class ProgramFolder:
    """Folds batch after batch through a program; see `refold_worker.fold.fold_loop.Folder`."""

    restores = True
    renews = False
    merges = False
    careful = False
    shared = False
    held = 0

    def __init__(self, program: Speaker, mark: Any, name: str, *, resuming: bool) -> None:
        ready = program.greet(resuming=resuming)
        self.name = name
        self.routed = ready.get("routes") is True
        self.declared = _conditions(ready.get("invariants", {}))
        words = [os.path.basename(w) if os.path.isfile(w) else w for w in program.command]
        self.runtime = json.dumps([ready.get("runtime"), *words])
        """Another command is another projection; where its files lie doesn't matter."""
        self.decode = decoder(decimals=False)
        self._program = program
        self._mark = mark
        self._encode = encoding.plain_encoder()
        self._texts: Dict[str, Optional[bytes]] = {}
        self._changes: Dict[str, int] = {}
        self._next_change = 0
        self._restored: List[bytes] = []
        self.only: Optional[Set[str]] = None
        """The keys that may change, where not all may."""

    def cool(self) -> None:
        """They take room in the program only."""

    def files(self) -> List[str]:
        """Those of its command's words that are files: its code, as far as anybody can know."""
        return files(self._program.command)

    def missing(self, batch: Batch) -> List[str]:
        """Keys that the batch will reach and that the program wasn't told of yet."""
        if not self.routed:
            keys = [stream for stream in batch.streams if stream is not None]
        else:
            keys = [key for answer in self._asked(batch, "route") for key in _keys(answer)]
        return [key for key in dict.fromkeys(keys) if key not in self._changes]

    def routes(self, batch: Batch) -> List[List[str]]:
        """The keys that each event reaches."""
        if not self.routed:
            return [[] if s is None else [s] for s in batch.streams_of_events()]
        return [_keys(answer) for answer in self._asked(batch, "route")]

    def merged(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:  # noqa: ARG002 - as it can't
        """The protocol has no question for it."""
        return []

    def anew(self) -> None:
        """A program holds its documents itself, and nobody can tell it to forget them."""

    def count_from(self, change: int) -> None:
        """Number the next change so, and those after it in turn."""
        self._next_change = change

    def resume(self, key: str, change: int, state: Optional[bytes]) -> None:
        """Give a document back to the program."""
        self._changes[key], self._texts[key] = change, state
        if state is not None:
            document = b'{"document":%b,"state":%b}' % (json.dumps(key).encode(), state)
            self._restored.append(document)

    def unborn(self, keys: List[str]) -> None:
        """Remember of those keys that aren't known by now that they never had a document."""
        for key in keys:
            self._changes.setdefault(key, UNCHANGED)

    def surely_plain(self) -> bool:
        """What comes as JSON goes back as JSON."""
        return True

    def _encoded(self, state: Any) -> bytes:
        try:
            text: bytes = self._encode(state)
        except UnicodeEncodeError:
            text = encoding.encode(state)  # it holds half a surrogate pair
        return text

    def probed(self) -> List[Dict[str, Any]]:
        """A program's documents are its own: nothing can be tried on them."""
        return []

    def fold(self, batch: Batch) -> Result:
        """Give the program a batch's events and take its answers; raises `ProtocolError`."""
        result = Result()
        for index, answer in enumerate(self._asked(batch, "event")):
            event = event_of(batch, index, None)
            line_protocol.checked(answer, event.stream, routes=self.routed)
            if "error" in answer:
                result.failures.append(_failure(event, answer))
            elif "skipped" in answer:
                name = str(event.type)
                result.skipped[name] = result.skipped.get(name, 0) + 1
            else:
                self._take(result, index, answer)
        return result

    def _asked(self, batch: Batch, what: str) -> Iterator[Dict[str, Any]]:
        """The answers to a batch's events, one each, in their order."""
        lines = self._restored + _lines(batch, what)
        self._restored = []
        writing = self._program.say(lines)
        for index in range(batch.count):
            offset = batch.offset(index)
            self._mark[0] = offset
            answer = self._program.answer("the event")
            said = answer.get("offset")
            if said != offset or not isinstance(said, int) or isinstance(said, bool):
                raise ProtocolError(
                    f"answered {line_protocol.short(answer)} where another one is next,"
                )
            yield answer
        writing.join()

    def _take(self, result: Result, index: int, answer: Dict[str, Any]) -> None:
        changes = {carried(key): state for key, state in answer["changes"].items()}
        for place, (key, state) in enumerate(changes.items()):
            if self.only is not None and key not in self.only:
                continue
            result.route_rows.append(index)
            result.route_keys.append(key)
            result.route_places.append(place)
            text = None if state is None else self._encoded(state)
            if text == self._texts.get(key):
                continue
            self._texts[key] = text
            result.previous.append(self._changes.get(key, UNCHANGED))
            self._changes[key] = self._next_change
            self._next_change += 1
            result.rows.append(index)
            result.places.append(place)
            result.states.append(text)
            result.keys.append(key)


def _lines(batch: Batch, what: str) -> List[bytes]:
    """A line for each event; the data is what the log holds, byte for byte."""
    datas, metas = batch.texts("data"), batch.texts("meta")
    return [
        line_protocol.line(what, event_of(batch, index, None), datas[index], metas[index])
        for index in range(batch.count)
    ]


def _keys(answer: Dict[str, Any]) -> List[str]:
    keys = answer.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ProtocolError(
            f"answered a route with keys that are no list of texts: {line_protocol.short(keys)}"
        )
    return keys


def _failure(event: Event, answer: Dict[str, Any]) -> Dict[str, Any]:
    error, key = answer["error"], answer.get("key")
    return {
        "offset": event.offset,
        "key": carried(key) if isinstance(key, str) else event.stream,
        "type": event.type,
        "error": carried(error),
        "traceback": carried(str(answer.get("traceback") or error)),
    }


def _conditions(declared: Any) -> Dict[str, str]:
    if not isinstance(declared, dict) or not all(isinstance(v, str) for v in declared.values()):
        raise ProtocolError("declares invariants that are no object of conditions")
    return dict(declared)
