"""Shifts the clocks and seeds the random numbers of a worker, and records which of them are read.

It finds handlers that depend on more than their document and event: the same fold runs twice in
different worlds, and the first different state is reported with what was read. The functions are
replaced before the user's code is imported, so names that it imports refer to the replacements.
"""

from __future__ import annotations

import functools
import os
import random
import time
import uuid
from typing import Any, Callable, Dict, List

from . import clocks


class ShiftedWorld:
    """Shifted clocks and seeded random numbers, and which of them each event read."""

    def __init__(self, current_event: Any) -> None:
        """`current_event` holds the offset of the event that is being handled."""
        self._current_event = current_event
        self._reads_by_offset: Dict[int, Dict[str, None]] = {}

    def take_reads(self) -> List[Dict[str, Any]]:
        """Return the names that each event read since the last call, in order of the first read."""
        reads, self._reads_by_offset = self._reads_by_offset, {}
        return [
            {"offset": o, "key": None, "read": list(names)} for o, names in reads.items() if o >= 0
        ]

    def install(self, *, seconds: int, seed: int) -> None:
        """Move every clock ahead by `seconds`, and seed the random numbers."""
        random.seed(seed)
        real_ns = time.time_ns

        def now(name: str) -> int:
            self._record_read(name)
            return real_ns() // 1000 + seconds * 10**6

        clocks.replace_clocks(now)
        for name in ("monotonic", "perf_counter"):
            self._replace_function(time, name, lambda real: lambda: real() + seconds)
        self._replace_function(time, "monotonic_ns", lambda real: lambda: real() + seconds * 10**9)
        for name in ("random", "randrange", "randint", "uniform", "choice", "choices", "shuffle"):
            self._watch_function(random, name)
        for name in ("sample", "getrandbits", "gauss", "betavariate", "expovariate"):
            self._watch_function(random, name)
        for module, names in ((uuid, ("uuid1", "uuid4")), (os, ("urandom", "getpid"))):
            for name in names:
                self._watch_function(module, name)

    def _replace_function(self, module: Any, name: str, build_own: Callable[[Any], Any]) -> None:
        real = getattr(module, name)
        own = build_own(real)

        @functools.wraps(real, updated=())
        def read(*args: Any, **named: Any) -> Any:
            self._record_read(f"{module.__name__}.{name}")
            return own(*args, **named)

        setattr(module, name, read)

    def _watch_function(self, module: Any, name: str) -> None:
        self._replace_function(module, name, lambda real: real)

    def _record_read(self, name: str) -> None:
        self._reads_by_offset.setdefault(self._current_event[0], {})[name] = None
