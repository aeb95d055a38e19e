"""Flow control: how many events to send a worker at once, and how far ahead.

Batches take a fraction of a second each, and at most a few seconds of work are sent ahead, within a
limit on the bytes of a result. The first batches are small, so that first results appear at once. Later
the worker's speed decides: a slow handler gets small batches, so that cancelling and the screen stay quick.
"""

import time

_FIRST_BATCH_EVENTS = 16
_MAX_BATCH_EVENTS = 32_768
_BATCH_SECONDS = 0.2
_AHEAD_SECONDS = 4.0
"""Seconds of work to send ahead: longer than a flush, during which no results are read."""
_AHEAD_BATCHES = 24
_MAX_RESULT_BYTES = 16_000_000
"""Largest result of one batch, in bytes, that sizes aim at."""


class FlowControl:
    """Decides batch sizes from the results that came back."""

    def __init__(self) -> None:
        self._batch_size = _FIRST_BATCH_EVENTS
        self._events_per_second: float | None = None
        self._last_result_time = time.monotonic()

    def next_batch_size(self) -> int:
        """Return the number of events for the next batch."""
        return self._batch_size

    def can_send(self, batches_in_flight: int, events_in_flight: int) -> bool:
        """Whether one more batch may be sent, given how much is in flight."""
        if self._events_per_second is None:
            return batches_in_flight < 2
        return batches_in_flight < 2 or (
            batches_in_flight < _AHEAD_BATCHES
            and events_in_flight < self._events_per_second * _AHEAD_SECONDS
        )

    def record_result(self, events: int, result_bytes: int) -> None:
        """Record that a result arrived: how many events it covers, and how many bytes it has."""
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
