"""The recordings of a workspace for a person: list them, assign them to events, answer missed calls."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from gateway import call_assignment, calls, recording_store
from gateway.call_answers import make_stub_answer
from gateway.calls import Call, CallKind
from gateway.recording_store import Recording
from gateway.redaction import Redactor
from gateway.similar_recordings import describe_differences, rank_by_likeness
from replay.history.call_decisions import CallDecision, build_recorded_decision
from replay.history.fold_reports import FoldReports
from storage.errors import QueryError
from storage.log.event_log import EventLog
from storage.log.positions import START
from storage.workspace.workspace import Workspace

_MANUAL_ORDINAL = 1_000_000
"""The ordinal of answers given by hand; it sorts after all recordings of the event."""


@dataclass(frozen=True)
class SimilarRecording:
    """A recording that resembles a missed call."""

    recording: Recording
    differences: list[str]
    """Such as `request.pair: "EURUSD" → "EURGBP"`."""


def list_recordings(workspace: Workspace, limit: int | None = None) -> Iterator[CallDecision]:
    """Yield all recordings, each with the decision under which it was recorded."""
    for count, one in enumerate(recording_store.iterate_recordings(workspace)):
        if limit is not None and count >= limit:
            return
        yield build_recorded_decision(one)


def list_unassigned_recordings(workspace: Workspace) -> list[CallDecision]:
    """Return the recordings that are not assigned to an event."""
    return [
        build_recorded_decision(one)
        for one in recording_store.iterate_recordings(workspace, '"offset" IS NULL')
    ]


def assign_recording(workspace: Workspace, call_number: str, position: int) -> None:
    """Assign an imported call to the event that made it.

    Raises `QueryError` if there is no such call, or if `position` is the start.
    """
    if position == START:
        raise QueryError(
            "The start is no event, so it can't make a call. Give an event's position."
        )
    if not call_number.isdecimal() or not call_assignment.assign_manually(
        workspace, int(call_number), position
    ):
        raise QueryError(
            f"There is no call {call_number!r}. List all calls with `refold calls WS`."
        )


def find_similar_recordings(
    workspace: Workspace, missed_call: CallDecision
) -> list[SimilarRecording]:
    """Return the recordings of a call's event, the most similar first, and how they differ."""
    if missed_call.offset is None or missed_call.request is None:
        return []
    request = calls.decode_body(missed_call.request.encode(), "application/json")
    call_origin = (
        missed_call.port,
        missed_call.operation,
        request,
        missed_call.offset,
        None,
        missed_call.key,
    )
    call = Call(CallKind(missed_call.kind), *call_origin)
    found = rank_by_likeness(
        call, recording_store.read_event_recordings(workspace, missed_call.offset)
    )
    return [SimilarRecording(one, describe_differences(call, one)) for one in found]


def answer_missed_call(history: FoldReports, missed_call: CallDecision, text: str) -> None:
    """Store an answer for a missed call; from now on the call of this event gets it.

    `text` is the answer as JSON. Raises `QueryError` if it isn't valid JSON.
    """
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise QueryError(f"{text!r} is not valid JSON: {error}.") from error
    offset = missed_call.offset or 0
    event = EventLog(history.workspace.main_workspace).read_event(offset)
    with history.workspace.writing() as connection:
        request = calls.decode_body((missed_call.request or "null").encode(), "application/json")
        call_origin = (offset, None if event is None else event.id, missed_call.key)
        call = Call(
            CallKind(missed_call.kind),
            missed_call.port,
            missed_call.operation,
            request,
            *call_origin,
        )
        call_answer = make_stub_answer(call, value)
        recording = Recording(
            call,
            call_answer,
            projection=history.fold_record.name,
            ordinal=_MANUAL_ORDINAL,
            origin="stub",
        )
        recording_store.insert_recordings(
            connection, [recording_store.redact_recording(recording, Redactor())]
        )
