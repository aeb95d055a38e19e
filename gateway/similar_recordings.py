"""Recordings whose requests resemble a call that has none, and how they differ."""

import difflib
from collections.abc import Sequence

from gateway import calls
from gateway.calls import Call
from gateway.recording_store import Recording
from gateway.request_differences import differences


def rank_by_likeness(call: Call, recordings: Sequence[Recording]) -> list[Recording]:
    """Return the recordings of the same port, the most similar request first."""
    text = calls.encode_canonical(call.request).decode()

    def likeness(one: Recording) -> float:
        other = calls.encode_canonical(one.call.request).decode()
        alike = difflib.SequenceMatcher(None, text[:2000], other[:2000]).ratio()
        return alike + (one.call.operation == call.operation)

    return sorted((o for o in recordings if o.call.port == call.port), key=likeness, reverse=True)


def describe_differences(call: Call, recording: Recording) -> list[str]:
    """Return how a recorded request differs from a call's, as `request.pair: EURUSD → EURGBP`."""
    changes = []
    if recording.call.operation != call.operation:
        changes.append(f"operation: {recording.call.operation} → {call.operation}")
    changes += [f"request{how}" for how in differences(recording.call.request, call.request)]
    if recording.call.key not in (None, call.key):
        changes.append(f"document: {recording.call.key} → {call.key}")
    return changes or [f"it was made {call.occurrence + 1:,} times"]
