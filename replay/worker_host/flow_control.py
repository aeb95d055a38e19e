"""How much to send a worker at once: batches of a fraction of a second, a few seconds ahead, and no more
than what comes back of it can be held.

The first batches are small, so that there is something to look at at once. After them the worker's
own speed decides: a slow handler gets small ones, so that a cancel and the screen needn't wait.
"""

import time

_FIRST_BATCH_EVENTS = 16
_MAX_BATCH_EVENTS = 32_768
_BATCH_SECONDS = 0.2
_AHEAD_SECONDS = 4.0
"""More than a flush takes, in which nothing is read."""
_AHEAD_BATCHES = 24
_MAX_RESULT_BYTES = 16_000_000
"""Of what a batch comes back as."""


class FlowControl:
    """Watches batches come back."""

    def __init__(self) -> None:
        self._batch_size = _FIRST_BATCH_EVENTS
        self._events_per_second: float | None = None
        self._last_result_time = time.monotonic()

    def next_batch_size(self) -> int:
        """Events for the next batch."""
        return self._batch_size

    def can_send(self, batches_in_flight: int, events_in_flight: int) -> bool:
        """Whether one more may be sent, with so much on its way."""
        if self._events_per_second is None:
            return batches_in_flight < 2
        return batches_in_flight < 2 or (
            batches_in_flight < _AHEAD_BATCHES
            and events_in_flight < self._events_per_second * _AHEAD_SECONDS
        )

    def record_result(self, events: int, result_bytes: int) -> None:
        """So many events were folded since the last batch came back, into so many bytes."""
        now = time.monotonic()
        rate = events / max(now - self._last_result_time, 1e-6)
        self._last_result_time = now
        self._events_per_second = (
            rate if self._events_per_second is None else 0.7 * self._events_per_second + 0.3 * rate
        )
        wanted_size = int(self._events_per_second * _BATCH_SECONDS)
        size_within_memory = events * _MAX_RESULT_BYTES // max(result_bytes, 1)
        self._batch_size = max(
            1, min(wanted_size, self._batch_size * 4, size_within_memory, _MAX_BATCH_EVENTS)
        )
