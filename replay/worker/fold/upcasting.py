"""Bringing old versions of events to the current one, as the projection's `upcast` says.

A function is asked again of what it returned, until it returns nothing or the same; a list of
functions is asked once each, in its order. What they return needs a `type`; what else it lacks it
has from the event before it.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional

from ..protocol.event import EVENT_FIELDS, Event, Upcast

_MAX_UPCAST_STEPS = 100
"""Steps after which an upcast is taken to have no end."""


class UpcastChain:
    """The projection's upcasts, as one function."""

    def __init__(self, declared: Any) -> None:
        self._chain: List[Callable[[Any], Any]] = (
            list(declared) if isinstance(declared, (list, tuple)) else []
        )
        self._function: Optional[Callable[[Any], Any]] = None if self._chain else declared

    def __call__(self, event: Any) -> Any:
        """The event as it is to be handled; the same where nothing is to be done."""
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
        met = " → ".join(f"{step.type} {step.version}" for step in steps[:4])
        raise RecursionError(f"upcast comes to no end: {met} → …")


def _complete_event(event: Any, returned: Any) -> Any:
    if returned is None or isinstance(returned, (Event, Upcast)):
        return event if returned is None else returned
    if not hasattr(returned, "type"):
        raise TypeError(f"upcast returned a {type(returned).__name__}, which has no type")
    return Upcast(event, {n: getattr(returned, n) for n in EVENT_FIELDS if hasattr(returned, n)})


def _is_same_event(one: Any, other: Any) -> bool:
    return all(getattr(one, n) == getattr(other, n) for n in ("type", "version", "stream", "data"))
