"""Decides whether a command hangs, from the processor time of its processes.

Wall-clock time alone says nothing on a busy machine, where a command waits for a processor.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

LIMIT_SECONDS = 10.0
"""Most seconds of processor time of a command, and most seconds in which it uses none."""
_LONGEST = 12
"""Most seconds of the clock for each second of the limit. A command that uses a little processor time
for ever ends there."""
_IDLE_SECONDS = 0.1
"""Processor time in `LIMIT_SECONDS` that a command may use for polling and still counts as idle."""


@dataclass
class HangDetector:
    """Watches one command; give it the processor seconds of all its processes from time to time.

    A command that waits for a processor or a disk has work, and does not count as idle.
    """

    has_work: Callable[[], bool]
    """Returns whether a process of the command has work at this moment."""
    limit_seconds: float = LIMIT_SECONDS
    processor_seconds: float = 0.0
    """What the command has used so far."""

    def __post_init__(self) -> None:
        self._started = self._active_at = time.monotonic()
        self._active_seconds = self.processor_seconds
        self._first_seconds = self.processor_seconds

    def check(self, processor_seconds: float) -> str:
        """Return why the command hangs; empty if it does not."""
        now = time.monotonic()
        # Processes that ended without being waited for are missing from the later sums.
        self.processor_seconds = max(self.processor_seconds, processor_seconds)
        used = self.processor_seconds - self._first_seconds
        if self.processor_seconds - self._active_seconds > _IDLE_SECONDS:
            self._active_at, self._active_seconds = now, self.processor_seconds
        if used > self.limit_seconds:
            return f"used more than {self.limit_seconds:g} s of processor time"
        if now - self._active_at > self.limit_seconds:
            if not self.has_work():
                return f"did not end, and used no processor time for {self.limit_seconds:g} s"
            self._active_at = now
        longest = _LONGEST * self.limit_seconds
        if now - self._started > longest:
            return f"did not end within {longest:g} s ({used:.1f} s of processor time)"
        return ""
