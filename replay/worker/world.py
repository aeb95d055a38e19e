"""Another clock and other random numbers than this machine's, and who read them.

For finding handlers that depend on more than their document and their event: the same fold is run
twice in worlds that differ, and what was read is told with the first state that differs. The
functions are replaced before the user's code is imported, so that its own names refer to these.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import random
import time
import uuid
from typing import Any, Callable, Dict, List


class World:
    """What handlers have read of the world since it was last asked."""

    def __init__(self) -> None:
        self._read: Dict[str, None] = {}

    def taken(self) -> List[str]:
        """What was read since the last time, in order of the first reading."""
        found, self._read = list(self._read), {}
        return found

    def enter(self, *, seconds: int, seed: int) -> None:
        """Move every clock ahead, and seed the random numbers."""
        random.seed(seed)
        for module, name in ((time, "time"), (time, "monotonic"), (time, "perf_counter")):
            self._replace(module, name, lambda real: lambda: real() + seconds)
        for module, name in ((time, "time_ns"), (time, "monotonic_ns")):
            self._replace(module, name, lambda real: lambda: real() + seconds * 10**9)
        for name in ("localtime", "gmtime", "ctime"):
            self._replace(time, name, _now_by_default)
        self._dates(seconds)
        for name in ("random", "randrange", "randint", "uniform", "choice", "choices", "shuffle"):
            self._watch(random, name)
        for name in ("sample", "getrandbits", "gauss", "betavariate", "expovariate"):
            self._watch(random, name)
        for module, names in ((uuid, ("uuid1", "uuid4")), (os, ("urandom", "getpid"))):
            for name in names:
                self._watch(module, name)

    def _replace(self, module: Any, name: str, made: Callable[[Any], Any]) -> None:
        real = getattr(module, name)
        replaced = made(real)

        @functools.wraps(real, updated=())
        def read(*args: Any, **named: Any) -> Any:
            self._read[f"{module.__name__}.{name}"] = None
            return replaced(*args, **named)

        setattr(module, name, read)

    def _watch(self, module: Any, name: str) -> None:
        self._replace(module, name, lambda real: real)

    def _dates(self, seconds: int) -> None:
        """`datetime` and `date` whose `now` and `today` are ahead; all else is as it was."""
        read, ahead = self._read_of, dt.timedelta(seconds=seconds)
        real_time: Any = dt.datetime
        real_date: Any = dt.date

        class _Kind(type):
            """Values of the real class belong to the one that stands for it."""

            def __instancecheck__(cls, value: Any) -> bool:
                return isinstance(value, cls.__mro__[1])

            def __subclasscheck__(cls, kind: Any) -> bool:
                return issubclass(kind, cls.__mro__[1])

        class datetime(real_time, metaclass=_Kind):  # type: ignore[misc]  # noqa: N801 - it stands for the real one
            def __new__(cls, *args: Any, **named: Any) -> Any:
                return real_time(*args, **named)

            @classmethod
            def now(cls, tz: Any = None) -> Any:
                read("datetime.now")
                return real_time.now(tz) + ahead

            @classmethod
            def utcnow(cls) -> Any:
                read("datetime.utcnow")
                return real_time.now(dt.timezone.utc).replace(tzinfo=None) + ahead

            @classmethod
            def today(cls) -> Any:
                read("datetime.today")
                return real_time.now() + ahead

        class date(real_date, metaclass=_Kind):  # type: ignore[misc]  # noqa: N801 - as above
            def __new__(cls, *args: Any, **named: Any) -> Any:
                return real_date(*args, **named)

            @classmethod
            def today(cls) -> Any:
                read("date.today")
                return (real_time.now() + ahead).date()

        dt.datetime, dt.date = datetime, date  # type: ignore[misc]

    def _read_of(self, name: str) -> None:
        self._read[name] = None


def _now_by_default(real: Any) -> Callable[..., Any]:
    now = time.time  # the clock that is ahead by now

    def at(moment: Any = None) -> Any:
        return real(now() if moment is None else moment)

    return at
