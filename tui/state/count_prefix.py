"""A number typed before a command: how often to repeat it, as in vi."""

_DIGITS = frozenset("0123456789")
_MOST = 9


class CountPrefix:
    """The number being typed. Any key that is not a digit ends it."""

    def __init__(self) -> None:
        self._digits = ""
        self._typed: int | None = None

    def accepts(self, character: str | None) -> bool:
        """Take a pressed key; return whether it belongs to the number."""
        if character in _DIGITS:
            self._digits = (self._digits + str(character))[:_MOST]
            return True
        self._typed = int(self._digits) if self._digits else None
        self._digits = ""
        return False

    def take_number(self) -> int | None:
        """Return the number typed before the last key, once."""
        typed, self._typed = self._typed, None
        return typed

    def take_repetitions(self) -> int:
        """Return how often to repeat the command; at least 1."""
        return max(self.take_number() or 1, 1)
