"""Answers that refold gives in place of a service: from a recording, or as declared."""

from typing import Any

from gateway import calls
from gateway.calls import Answer, AnswerOutcome, Call, CallKind, CallOutcome, Decision
from gateway.recording_store import Recording

_ACCEPTED_STATUS = 202
"""HTTP status that answers a command that was not sent: accepted, without a body."""


def answer_from_recording(call: Call, recording: Recording) -> CallOutcome:
    """Return the recorded answer of a call; a pending one is an error."""
    answer = recording.answer
    if answer.outcome is AnswerOutcome.PENDING:
        reason = "it may have been sent; its outcome is unknown"
        return CallOutcome(
            call, Decision.PENDING, reason, Answer.from_error(reason), recording.recording_number
        )
    if call.kind is CallKind.COMMAND:
        return CallOutcome(
            call,
            Decision.SUPPRESSED,
            "not sent; answered from the recording",
            answer,
            recording.recording_number,
        )
    return CallOutcome(
        call, Decision.RECORDED, "answered from the recording", answer, recording.recording_number
    )


def make_stub_answer(call: Call, value: Any) -> Answer:
    """Return a declared or typed value as an answer to a call."""
    if not call.is_http:
        return Answer.from_value(value)
    if isinstance(value, dict) and "status" in value:
        headers = [(str(n), str(v)) for n, v in dict(value.get("headers") or {}).items()]
        media_type = next(
            (v for n, v in headers if n.lower() == "content-type"), "application/json"
        )
        return Answer(
            status=int(value["status"]),
            headers=headers or [("content-type", media_type)],
            body=calls.encode_body(value.get("body"), media_type),
            media_type=media_type,
        )
    if value is None:
        return Answer(status=_ACCEPTED_STATUS, media_type="text/plain")
    media_type = "application/json"
    return Answer(
        status=200,
        headers=[("content-type", media_type)],
        body=calls.encode_body(value, media_type),
        media_type=media_type,
    )


def comparable_value(answer: Answer) -> Any:
    """Return what an audit compares: for HTTP without headers, because they vary with each call."""
    value = answer.value
    if answer.status is not None:
        return {name: member for name, member in value.items() if name != "headers"}
    return value
