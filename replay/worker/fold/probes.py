"""Handling events otherwise than they came, beside the fold, to see whether the state would differ.

An event that is delivered twice; two events of different streams that reach a document one after
the other, in the other order. The fold itself goes on as if nobody had looked.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..protocol import encoding
from ..protocol.event import Upcast

ApplyEvent = Callable[[Any], Any]
"""A state, or None where there is no document, to what the event makes of it."""


class Probe:
    """Looks at each event once it was handled; counts what would have differed, by type."""

    def __init__(self, kind: str) -> None:
        self._repeats_events = kind == "idempotence"
        self._swaps_events = kind == "reorder"
        self._last: Dict[str, Tuple[Any, Upcast, Optional[str], Any]] = {}
        """By key: the state before its last event, the event, its stream, and its handler."""
        self.findings: Dict[Tuple[Optional[str], ...], Dict[str, Any]] = {}

    def probe_event(
        self,
        key: str,
        event: Any,
        build_fresh_event: Callable[[], Any],
        before: Any,
        text: Any,
        handle: Any,
    ) -> None:
        """An event was handled: `before` is the state before it, `text` the JSON after it.

        `fresh` gives the event anew, and `handle(state, event)` is what its handler does.
        """
        if self._repeats_events:
            after = _try_handler(
                handle,
                _try_handler(handle, deepcopy(before), build_fresh_event()),
                build_fresh_event(),
            )
            if _encode_state(after) != text:
                self._count_finding((event.type,), event.offset, key)
        if self._swaps_events:
            now = Upcast(event, {"data": deepcopy(build_fresh_event().data)})
            last = self._last.get(key)
            if last is not None and last[2] != now.stream:
                earlier, other, _, handled_other = last
                state = _try_handler(handle, deepcopy(earlier), build_fresh_event())
                state = _try_handler(handled_other, state, deepcopy(other))
                if _encode_state(state) != text:
                    self._count_finding((other.type, now.type), now.offset, key)
            self._last[key] = (deepcopy(before), now, now.stream, handle)

    def _count_finding(self, types: Tuple[Optional[str], ...], offset: int, key: str) -> None:
        found = self.findings.setdefault(
            types, {"types": types, "count": 0, "offset": offset, "key": key}
        )
        found["count"] += 1

    def take_findings(self) -> List[Dict[str, Any]]:
        """All that was found."""
        return list(self.findings.values())


def _try_handler(handle: Any, state: Any, event: Any) -> Any:
    original = deepcopy(state)
    try:
        return handle(state, event)
    except Exception:
        return original


def _encode_state(state: Any) -> Optional[bytes]:
    return None if state is None else encoding.encode_exactly(state)
