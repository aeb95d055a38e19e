"""Connects workers to the gateway: their calls and the answers.

In a replay, the recorded answers for a batch's events are sent with the batch, so a worker answers most
calls itself. Every other call comes here; the gateway decides it, and the worker reports the decision
with its event.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gateway import calls, ports, recording_store
from gateway.broker import AskPerson, Broker
from gateway.calls import Call, CallKind, CallOutcome
from gateway.modes import Mode
from gateway.recording_store import Recording
from replay.projection.projection_reference import Reference
from storage.folds import fold_rows
from storage.workspace.workspace import Workspace

CancellationCheck = Callable[[], None]
FrameContent = tuple[dict[str, Any], tuple[Any, ...]]
"""Header and parts of a frame."""
_WINDOW_EVENTS = 256
"""Number of events whose recordings are read at once."""
_MAX_WINDOWS = 8
_EXACT_REASONS = {"answered from the recording": 0, "not sent; answered from the recording": 1}


class GatewayBridge:
    """Answers the calls of one projection's workers. Safe to use from several threads."""

    def __init__(
        self, workspace: Workspace, reference: Reference, *, ask: AskPerson | None = None
    ) -> None:
        """`ask` asks a person for the answer of a call that was not recorded."""
        self.settings = reference.gateway_settings
        self._workspace = workspace
        self.generation = workspace.main_workspace.generation
        """Generation of the workspace whose events make the calls."""
        self._projection_name = reference.name
        self.broker = Broker(
            workspace,
            reference.gateway_settings,
            reference.name,
            folder=Path(reference.cwd),
            ask=ask,
        )
        self._decision_lock = threading.Lock()
        self._windows: OrderedDict[int, Mapping[int, list[Recording]]] = OrderedDict()
        """Recordings by offset, in windows of the log that were read."""
        with workspace.reading() as connection:
            self._has_recordings = bool(
                connection.execute("SELECT 1 FROM calls LIMIT 1").fetchall()
            )
            self.recordings_version = recording_store.read_version(connection)
            """Version of the recordings that answer the calls."""

    def __enter__(self) -> "GatewayBridge":
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.close()

    def recorded_answers(self, events: pa.Table) -> pa.Table | None:
        """Return the recorded answers for events (column `offset`, in order) that need no decision.

        None if the workspace has no recordings, or the mode isn't `replay`.
        """
        is_replay = self.settings.mode is Mode.REPLAY
        if not self._has_recordings or not is_replay or not events.num_rows:
            return None
        offsets = events["offset"]
        with self._workspace.reading() as connection:
            answers = recording_store.read_answers(
                connection, self._projection_name, offsets[0].as_py(), offsets[-1].as_py() + 1
            )
        answers = answers.filter(pc.is_valid(answers["answer"]))
        is_contiguous = offsets[-1].as_py() - offsets[0].as_py() + 1 == events.num_rows
        return (
            answers
            if is_contiguous
            else answers.filter(pc.is_in(answers["offset"], offsets.combine_chunks()))
        )

    def save_recordings(self, projection_number: int) -> int | None:
        """Store the calls that this fold made live, and note their version with the fold of a
        projection number. Return the version; None if the fold made no live calls."""
        new_recordings = self.broker.recordings.take()
        if not new_recordings:
            return None
        with self._workspace.writing(generation=self.generation) as connection:
            recording_store.insert_recordings(connection, new_recordings)
            version = recording_store.read_version(connection)
            fold_rows.write_recordings_version(connection, projection_number, version)
        return version

    def answer_call(
        self, header: Any, parts: list[bytes], raise_if_cancelled: CancellationCheck = lambda: None
    ) -> FrameContent:
        """Return the answer to a worker's call, as a frame."""
        call = self._parse_call(header, parts)
        with self._decision_lock:
            outcome = self.broker.decide(
                call, lambda: self._recordings_at(call.offset), raise_if_cancelled
            )
        return _build_reply(outcome)

    def _parse_call(self, header: Any, parts: list[bytes]) -> Call:
        call_origin = (header["offset"], header["event_id"], header["key"], header["occurrence"])
        if "method" in header:
            method, url = header["method"], header["url"]
            headers = [(name, value) for name, value in header["headers"]]
            return Call(
                ports.classify_http_method(method),
                self.settings.ports.find_port_of_url(url),
                calls.format_http_operation(method, url),
                calls.build_http_request(method, url, headers, parts[0]),
                *call_origin,
                headers,
                parts[0],
                url,
                header["timeout"],
            )
        request = calls.decode_body(parts[0], "application/json")
        return Call(
            CallKind(header["call"]), header["port"], header["operation"], request, *call_origin
        )

    def _recordings_at(self, offset: int) -> Sequence[Recording]:
        """Return the recordings of an event; reads those of its whole window at once."""
        if not self._has_recordings:
            return ()
        window = offset // _WINDOW_EVENTS
        if window not in self._windows:
            self._windows[window] = self._load_window(window * _WINDOW_EVENTS)
            while len(self._windows) > _MAX_WINDOWS:
                self._windows.popitem(last=False)
        return self._windows[window].get(offset, ())

    def _load_window(self, first: int) -> Mapping[int, list[Recording]]:
        with self._workspace.reading() as connection:
            answers = recording_store.read_answers(
                connection, self._projection_name, first, first + _WINDOW_EVENTS
            )
        by_offset: dict[int, list[Recording]] = {}
        for one in recording_store.read_by_numbers(self._workspace, answers["call"].to_pylist()):
            by_offset.setdefault(one.call.offset, []).append(one)
        return by_offset


def _build_reply(outcome: CallOutcome) -> FrameContent:
    """Return the frame that answers a call; its `told` is what the worker reports with the event."""
    answer = outcome.answer
    code = _EXACT_REASONS.get(outcome.reason) if outcome.recording_number is not None else None
    header: dict[str, Any] = {
        "outcome": None,
        "error": None,
        "status": None,
        "headers": [],
        "number": outcome.recording_number,
        "code": code,
        "told": None if code is not None else _decision_report(outcome),
    }
    if answer is None:
        call = outcome.call
        header["error"] = f"the {call.kind.value} {call.port}.{call.operation} {outcome.reason}"
        return header, (b"",)
    header |= {
        "outcome": answer.outcome.value,
        "error": answer.error,
        "status": answer.status,
        "headers": [list(pair) for pair in answer.headers],
    }
    return header, (answer.body,)


def _decision_report(outcome: CallOutcome) -> dict[str, Any]:
    """Return what to keep of a decision, beyond the number of a recording."""
    call, answer = outcome.call, outcome.answer
    return {
        "kind": call.kind.value,
        "port": call.port,
        "operation": call.operation,
        "request": calls.encode_canonical(call.request).decode(),
        "decision": outcome.decision.value,
        "reason": outcome.reason,
        "call": outcome.recording_number,
        "response": None if answer is None else answer.value_json,
        "stack": None,
    }
