"""A number typed before a command: so many times, as vi has it."""

_DIGITS = frozenset("0123456789")
_MOST = 9


class CountPrefix:
    """The number that is being typed. Any key that doesn't belong to it ends it."""

    def __init__(self) -> None:
        self._digits = ""
        self._typed: int | None = None

    def accepts(self, character: str | None) -> bool:
        """Whether a key that was pressed belongs to the number."""
        if character in _DIGITS:
            self._digits = (self._digits + str(character))[:_MOST]
            return True
        self._typed = int(self._digits) if self._digits else None
        self._digits = ""
        return False

    def take_number(self) -> int | None:
        """The number before the key that was pressed last, given once."""
        typed, self._typed = self._typed, None
        return typed

    def take_repetitions(self) -> int:
        """How many times a command is wanted; at least once."""
        return max(self.take_number() or 1, 1)
