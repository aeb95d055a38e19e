"""How much to send a worker at once: batches of a fraction of a second, a few seconds ahead, and no more
than what comes back of it can be held.

The first batches are small, so that there is something to look at at once. After them the worker's
own speed decides: a slow handler gets small ones, so that a cancel and the screen needn't wait.
"""

import time

_FIRST = 16
_MOST = 32_768
_BATCH_SECONDS = 0.2
_AHEAD_SECONDS = 4.0
"""More than a flush takes, in which nothing is read."""
_AHEAD_BATCHES = 24
_MOST_BYTES = 16_000_000
"""Of what a batch comes back as."""


class Pace:
    """Watches batches come back."""

    def __init__(self) -> None:
        self._size = _FIRST
        self._rate: float | None = None
        self._since = time.monotonic()

    def batch(self) -> int:
        """Events for the next batch."""
        return self._size

    def room(self, batches: int, events: int) -> bool:
        """Whether one more may be sent, with so much on its way."""
        if self._rate is None:
            return batches < 2
        return batches < 2 or (batches < _AHEAD_BATCHES and events < self._rate * _AHEAD_SECONDS)

    def came_back(self, events: int, size: int) -> None:
        """So many events were folded since the last batch came back, into so many bytes."""
        now = time.monotonic()
        rate = events / max(now - self._since, 1e-6)
        self._since = now
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate
        wanted = int(self._rate * _BATCH_SECONDS)
        held = events * _MOST_BYTES // max(size, 1)
        self._size = max(1, min(wanted, self._size * 4, held, _MOST))
