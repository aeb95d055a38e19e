"""A cache of windows of the history and log, so that stepping rarely queries the file."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

WIDTH = 64
"""Offsets in a window."""
_KEPT = 12


class WindowCache(Generic[Item]):
    """Items by offset, loaded one window at a time. Safe to use from several threads.

    The data behind a cache never changes: other data has a cache of its own.
    """

    def __init__(self, load: Callable[[int, int], dict[int, Item]]) -> None:
        self._load = load
        self._windows: OrderedDict[int, dict[int, Item]] = OrderedDict()
        self._lock = threading.Lock()

    def item_at(self, offset: int) -> Item | None:
        """Return the item at an offset, if there is one; may query the file."""
        return self._window(offset // WIDTH).get(offset)

    def has_window(self, offset: int) -> bool:
        """Return whether the window of an offset is in memory."""
        with self._lock:
            return offset // WIDTH in self._windows

    def _window(self, number: int) -> dict[int, Item]:
        with self._lock:
            window = self._windows.get(number)
            if window is not None:
                self._windows.move_to_end(number)
                return window
        first = number * WIDTH
        window = self._load(first, first + WIDTH - 1)
        with self._lock:
            self._windows[number] = window
            while len(self._windows) > _KEPT:
                self._windows.popitem(last=False)
        return window
