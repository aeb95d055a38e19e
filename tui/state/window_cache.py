"""Stretches of a history and of its log, kept at hand, so that stepping asks the file rarely."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

WIDTH = 64
"""Offsets in a window."""
_KEPT = 12


class WindowCache(Generic[Item]):
    """Items by offset, drawn a window at a time. May be used from several threads."""

    def __init__(self, draw: Callable[[int, int], dict[int, Item]]) -> None:
        self._draw = draw
        self._windows: OrderedDict[int, dict[int, Item]] = OrderedDict()
        self._lock = threading.Lock()
        self._generation = 0

    def item_at(self, offset: int) -> Item | None:
        """The item at an offset, if there is one."""
        return self._window(offset // WIDTH).get(offset)

    def has_window(self, offset: int) -> bool:
        """The window of an offset is at hand."""
        with self._lock:
            return offset // WIDTH in self._windows

    def clear(self) -> None:
        """Drop everything, as what lies behind it has changed."""
        with self._lock:
            self._windows.clear()
            self._generation += 1

    def _window(self, number: int) -> dict[int, Item]:
        with self._lock:
            window = self._windows.get(number)
            if window is not None:
                self._windows.move_to_end(number)
                return window
            generation = self._generation
        first = number * WIDTH
        window = self._draw(first, first + WIDTH - 1)
        with self._lock:
            if generation != self._generation:
                # What was drawn meanwhile may show what has changed since.
                return window
            self._windows[number] = window
            while len(self._windows) > _KEPT:
                self._windows.popitem(last=False)
        return window
