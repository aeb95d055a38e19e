"""Probes: apply events twice or in swapped order, beside the fold, and compare the states.

The idempotence probe delivers each event twice. The reorder probe swaps two successive events of a
document that come from different streams. Neither changes the fold's result.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..protocol import encoding
from ..protocol.event import Upcast


class Probe:
    """Probes each event after it was handled; counts different states by event type."""

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
        """Probe an event: `before` is the state before it, `text` the JSON after it.

        `build_fresh_event` returns a fresh copy of the event; `handle(state, event)` runs its handler.
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
                earlier_state, previous_event, _, previous_handler = last
                state = _try_handler(handle, deepcopy(earlier_state), build_fresh_event())
                state = _try_handler(previous_handler, state, deepcopy(previous_event))
                if _encode_state(state) != text:
                    self._count_finding((previous_event.type, now.type), now.offset, key)
            self._last[key] = (deepcopy(before), now, now.stream, handle)

    def _count_finding(self, types: Tuple[Optional[str], ...], offset: int, key: str) -> None:
        finding = self.findings.setdefault(
            types, {"types": types, "count": 0, "offset": offset, "key": key}
        )
        finding["count"] += 1

    def take_findings(self) -> List[Dict[str, Any]]:
        """Return one finding for each type, or pair of types, whose states differed."""
        return list(self.findings.values())


def _try_handler(handle: Any, state: Any, event: Any) -> Any:
    original = deepcopy(state)
    try:
        return handle(state, event)
    except Exception:
        return original


def _encode_state(state: Any) -> Optional[bytes]:
    return None if state is None else encoding.encode_exactly(state)
