"""Calls of workers on their way to the gateway and back, and recordings on their way to workers.

In a replay, what was recorded of a batch's events goes with the batch, so that most calls are
answered in the worker; any other comes here, is decided by the gateway, and is told with its event.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gateway import calls, ports, recording_store
from gateway.broker import Ask, Broker
from gateway.calls import Call, Kind, Made
from gateway.modes import Mode
from gateway.recording_store import Recorded
from replay.projection.reference import Reference
from storage.workspace.workspace import Workspace

Check = Callable[[], None]
Parts = tuple[dict[str, Any], tuple[Any, ...]]
"""The header and the parts of a frame."""
_WINDOW = 256
"""Events whose recordings are asked for at once."""
_WINDOWS = 8
_EXACT = {"answered as then": 0, "not sent; answered as then": 1}


class Calling:
    """What answers the calls of one projection's workers. May be used from several threads."""

    def __init__(self, workspace: Workspace, wanted: Reference, *, ask: Ask | None = None) -> None:
        """`ask` asks a person what a call is answered that was not recorded."""
        self.settings = wanted.settings
        self._workspace = workspace
        self.generation = workspace.file.generation
        """The workspace's generation whose events make the calls."""
        self._name = wanted.name
        self.broker = Broker(
            workspace, wanted.settings, wanted.name, folder=Path(wanted.cwd), ask=ask
        )
        self._deciding = threading.Lock()
        self._windows: OrderedDict[int, Mapping[int, list[Recorded]]] = OrderedDict()
        """What is recorded of events, by stretches of the log that were asked for."""
        with workspace.reading() as connection:
            self._any = bool(connection.execute("SELECT 1 FROM calls LIMIT 1").fetchall())
            self.version = recording_store.version(connection)
            """Of the recordings that it answers from."""

    def __enter__(self) -> "Calling":
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.close()

    def answers(self, events: pa.Table) -> pa.Table | None:
        """What is recorded of events (column `offset`, in order) and can be answered by itself."""
        ahead = self.settings.mode is Mode.REPLAY
        if not self._any or not ahead or not events.num_rows:
            return None
        offsets = events["offset"]
        with self._workspace.reading() as connection:
            found = recording_store.of_range(
                connection, self._name, offsets[0].as_py(), offsets[-1].as_py() + 1
            )
        found = found.filter(pc.is_valid(found["answer"]))
        whole = offsets[-1].as_py() - offsets[0].as_py() + 1 == events.num_rows
        return found if whole else found.filter(pc.is_in(found["offset"], offsets.combine_chunks()))

    def keep(self, number: int) -> None:
        """Keep the answers that went into a fold, and were asked for only now, with the fold of a
        projection of that number."""
        kept, self.broker.kept = self.broker.kept, []
        if kept:
            with self._workspace.writing(generation=self.generation) as connection:
                recording_store.keep(connection, kept)
                version = recording_store.version(connection)
                query = "UPDATE folds SET answers = ? WHERE projection = ?"
                connection.execute(query, [version, number])

    def reply(self, header: Any, parts: list[bytes], check: Check = lambda: None) -> Parts:
        """The answer to a worker's call, as a frame."""
        call = self._call(header, parts)
        with self._deciding:
            made = self.broker.decide(call, lambda: self._recorded(call.offset), check)
        return _frame(made)

    def _call(self, header: Any, parts: list[bytes]) -> Call:
        place = (header["offset"], header["event_id"], header["key"], header["occurrence"])
        if "method" in header:
            method, url = header["method"], header["url"]
            headers = [(name, value) for name, value in header["headers"]]
            return Call(
                ports.kind_of_method(method),
                self.settings.ports.of_url(url),
                calls.http_operation(method, url),
                calls.http_request(method, url, headers, parts[0]),
                *place,
                headers,
                parts[0],
                url,
                header["timeout"],
            )
        request = calls.readable(parts[0], "application/json")
        return Call(Kind(header["call"]), header["port"], header["operation"], request, *place)

    def _recorded(self, offset: int) -> Sequence[Recorded]:
        """What is recorded of an event, which is asked for together with those around it."""
        if not self._any:
            return ()
        window = offset // _WINDOW
        if window not in self._windows:
            self._windows[window] = self._drawn(window * _WINDOW)
            while len(self._windows) > _WINDOWS:
                self._windows.popitem(last=False)
        return self._windows[window].get(offset, ())

    def _drawn(self, first: int) -> Mapping[int, list[Recorded]]:
        with self._workspace.reading() as connection:
            found = recording_store.of_range(connection, self._name, first, first + _WINDOW)
        drawn: dict[int, list[Recorded]] = {}
        for one in recording_store.by_numbers(self._workspace, found["call"].to_pylist()):
            drawn.setdefault(one.call.offset, []).append(one)
        return drawn


def _frame(made: Made) -> Parts:
    """What a worker gets of a decision; `told` is what it tells of it with the event."""
    answer = made.answer
    code = _EXACT.get(made.reason) if made.number is not None else None
    header: dict[str, Any] = {
        "outcome": None,
        "error": None,
        "status": None,
        "headers": [],
        "number": made.number,
        "code": code,
        "told": None if code is not None else _told(made),
    }
    if answer is None:
        call = made.call
        header["error"] = f"the {call.kind.value} {call.port}.{call.operation} {made.reason}"
        return header, (b"",)
    header |= {
        "outcome": answer.outcome.value,
        "error": answer.error,
        "status": answer.status,
        "headers": [list(pair) for pair in answer.headers],
    }
    return header, (answer.body,)


def _told(made: Made) -> dict[str, Any]:
    """What is kept of a decision that a recording alone doesn't tell."""
    call, answer = made.call, made.answer
    return {
        "kind": call.kind.value,
        "port": call.port,
        "operation": call.operation,
        "request": calls.canonical(call.request).decode(),
        "decision": made.decision.value,
        "reason": made.reason,
        "call": made.number,
        "response": None if answer is None else answer.shown,
        "stack": None,
    }
