"""Esc: closes or cancels the innermost of what is open, and never quits."""

from collections.abc import Callable, Sequence


class EscapeController:
    """Tries ways to go back, from the innermost to the outermost."""

    def __init__(self, ways: Sequence[Callable[[], bool]]) -> None:
        """Each way returns whether there was something to close or to cancel."""
        self._ways = ways

    def go_back(self) -> None:
        """Close or cancel the innermost of what is open."""
        for close in self._ways:
            if close():
                return
