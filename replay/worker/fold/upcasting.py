"""Converts old versions of events to the current one with the projection's `upcast`.

A single function is called again with what it returned, until it returns None or an equal event. The
functions of a list are called once each, in order. A returned object needs a `type`; fields that it
lacks are taken from the event that was passed in.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional

from ..protocol.event import EVENT_FIELDS, Event, Upcast

_MAX_UPCAST_STEPS = 100
"""Number of steps after which an upcast counts as endless."""


class UpcastChain:
    """The projection's upcasts as one function."""

    def __init__(self, declared: Any) -> None:
        self._chain: List[Callable[[Any], Any]] = (
            list(declared) if isinstance(declared, (list, tuple)) else []
        )
        self._function: Optional[Callable[[Any], Any]] = None if self._chain else declared

    def __call__(self, event: Any) -> Any:
        """Return the event for the handlers; the same object if no upcast applies.

        Raises RecursionError if a single function doesn't come to an end, and TypeError if a returned
        object has no type.
        """
        for function in self._chain:
            event = _complete_event(event, function(event))
        return event if self._function is None else self._upcast_until_stable(self._function, event)

    @staticmethod
    def _upcast_until_stable(function: Callable[[Any], Any], event: Any) -> Any:
        steps = [event]
        while len(steps) <= _MAX_UPCAST_STEPS:
            after = _complete_event(event, function(event))
            if after is event or _is_same_event(after, event):
                return event
            event = after
            steps.append(event)
        first_steps = " → ".join(f"{step.type} {step.version}" for step in steps[:4])
        raise RecursionError(f"upcast doesn't come to an end: {first_steps} → …")


def _complete_event(event: Any, returned: Any) -> Any:
    if returned is None or isinstance(returned, (Event, Upcast)):
        return event if returned is None else returned
    if not hasattr(returned, "type"):
        raise TypeError(f"upcast returned a {type(returned).__name__}, which has no type")
    return Upcast(event, {n: getattr(returned, n) for n in EVENT_FIELDS if hasattr(returned, n)})


def _is_same_event(one: Any, other: Any) -> bool:
    return all(getattr(one, n) == getattr(other, n) for n in ("type", "version", "stream", "data"))
