"""Handling events otherwise than they came, beside the fold, to see whether the state would differ.

An event that is delivered twice; two events of different streams that reach a document one after
the other, in the other order. The fold itself goes on as if nobody had looked.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..protocol import encoding
from ..protocol.event import Upcast

Handled = Callable[[Any], Any]
"""A state, or None where there is no document, to what the event makes of it."""


class Probe:
    """Looks at each event once it was handled; counts what would have differed, by type."""

    def __init__(self, what: str) -> None:
        self._twice = what == "idempotence"
        self._swapped = what == "reorder"
        self._last: Dict[str, Tuple[Any, Upcast, Optional[str], Any]] = {}
        """By key: the state before its last event, the event, its stream, and its handler."""
        self.found: Dict[Tuple[Optional[str], ...], Dict[str, Any]] = {}

    def look(
        self, key: str, event: Any, fresh: Callable[[], Any], before: Any, text: Any, handle: Any
    ) -> None:
        """An event was handled: `before` is the state before it, `text` the JSON after it.

        `fresh` gives the event anew, and `handle(state, event)` is what its handler does.
        """
        if self._twice:
            after = _outcome(handle, _outcome(handle, deepcopy(before), fresh()), fresh())
            if _written(after) != text:
                self._count((event.type,), event.offset, key)
        if self._swapped:
            now = Upcast(event, {"data": deepcopy(fresh().data)})
            last = self._last.get(key)
            if last is not None and last[2] != now.stream:
                earlier, other, _, handled_other = last
                state = _outcome(handle, deepcopy(earlier), fresh())
                state = _outcome(handled_other, state, deepcopy(other))
                if _written(state) != text:
                    self._count((other.type, now.type), now.offset, key)
            self._last[key] = (deepcopy(before), now, now.stream, handle)

    def _count(self, types: Tuple[Optional[str], ...], offset: int, key: str) -> None:
        found = self.found.setdefault(
            types, {"types": types, "count": 0, "offset": offset, "key": key}
        )
        found["count"] += 1

    def taken(self) -> List[Dict[str, Any]]:
        """All that was found."""
        return list(self.found.values())


def _outcome(handle: Any, state: Any, event: Any) -> Any:
    kept = deepcopy(state)
    try:
        return handle(state, event)
    except Exception:
        return kept


def _written(state: Any) -> Optional[bytes]:
    return None if state is None else encoding.encode(state)
