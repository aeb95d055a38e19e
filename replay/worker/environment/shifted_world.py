"""Another clock and other random numbers than this machine's, and who read them.

For finding handlers that depend on more than their document and their event: the same fold is run
twice in worlds that differ, and what was read is told with the first state that differs. The
functions are replaced before the user's code is imported, so that its own names refer to these.
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
    """What handlers have read of the world since it was last asked."""

    def __init__(self, current_event: Any) -> None:
        """`mark` holds the offset of the event that is being handled."""
        self._current_event = current_event
        self._reads_by_offset: Dict[int, Dict[str, None]] = {}

    def take_reads(self) -> List[Dict[str, Any]]:
        """What was read at which event since the last time, in order of the first reading."""
        found, self._reads_by_offset = self._reads_by_offset, {}
        return [
            {"offset": o, "key": None, "read": list(names)} for o, names in found.items() if o >= 0
        ]

    def install(self, *, seconds: int, seed: int) -> None:
        """Move every clock ahead, and seed the random numbers."""
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
        replaced = build_own(real)

        @functools.wraps(real, updated=())
        def read(*args: Any, **named: Any) -> Any:
            self._record_read(f"{module.__name__}.{name}")
            return replaced(*args, **named)

        setattr(module, name, read)

    def _watch_function(self, module: Any, name: str) -> None:
        self._replace_function(module, name, lambda real: real)

    def _record_read(self, name: str) -> None:
        self._reads_by_offset.setdefault(self._current_event[0], {})[name] = None
