"""Clocks, ids and random numbers that are the event's own: as recorded, or derived from it.

The functions are replaced before the user's code is imported, and where it can be done in the types
of `datetime` themselves, so that a handler that never heard of refold reads the event's time, and
the same ids in every fold. Monotonic clocks go on, as event loops and timeouts live by them. While
no event is handled everything is as it is.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import uuid
from bisect import bisect_left
from datetime import datetime, timedelta, timezone
from random import Random
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple
from uuid import UUID

from ..protocol.event import _EPOCH, _NO_NUMBER
from . import clocks
from .import_hooks import when_imported

if TYPE_CHECKING:
    from .calls import Calls, Place

_UNSEEDED = "random"


class OwnTime:
    """What an event gives of time and chance; notes who reads it."""

    def __init__(self, calls: "Calls", name: str) -> None:
        """Ids and numbers are of the projection of that name."""
        self.calls = calls
        """Which know the event that is being handled."""
        self._name = name
        self._last = 0
        """The time of the last event that had one."""
        self._at: Tuple[int, Optional[str]] = (-1, None)
        self._drawn: Dict[str, int] = {}
        """How often each purpose was drawn for at this event."""
        self._streams: Dict[str, Random] = {}
        self._told: Optional[int] = None
        """The time at this event, as it was recorded last."""
        self._reads: Dict[Place, Dict[str, None]] = {}
        self._seeded: Tuple[int, Optional[str]] = (-1, None)

    def taken(self) -> List[Dict[str, Any]]:
        """What was read at which event, for which document, since the last time."""
        found, self._reads = self._reads, {}
        return [{"offset": o, "key": key, "read": list(names)} for (o, key), names in found.items()]

    def now(self) -> datetime:
        """The gateway's own: as recorded, or the event's."""
        self.read("gateway.now")
        micros = self._micros()
        return (
            datetime.now(timezone.utc)
            if micros is None
            else _EPOCH + timedelta(microseconds=micros)
        )

    def random(self, purpose: str) -> float:
        """The next number of a purpose."""
        self.read("gateway.random")
        found = self.calls.recorded("random", purpose)
        return float(found[0]) if found else self._stream(f"gateway {purpose}").random()

    def uuid(self, purpose: str) -> UUID:
        """The next id of a purpose."""
        self.read("gateway.uuid")
        found = self.calls.recorded("uuid", purpose)
        return UUID(found[0]) if found else self._uuid(f"gateway {purpose}")

    def enter(self) -> None:
        """Replace this process's clocks, ids and random numbers."""
        clocks.replace(self._seconds_read)
        self._replace(uuid, "uuid4", lambda _: lambda: self._uuid(f"uuid4 {_caller()}"))
        self._replace(uuid, "uuid1", lambda _: lambda *_a, **_n: self._uuid(f"uuid1 {_caller()}"))
        urandom = self._replace(os, "urandom", lambda _: self._bytes)
        # Where `SystemRandom`, and so `secrets`, takes its own from.
        random._urandom = urandom  # type: ignore[attr-defined]
        for name in (*_NUMBERS, *_DISTRIBUTIONS):
            if hasattr(random, name):
                self._replace(random, name, self._of_event)
        self._seed_by_event()
        when_imported({"numpy.random": self._numpy})

    def _seconds_read(self, name: str) -> Optional[int]:
        """The event's time in microseconds, for a clock that is read."""
        micros = self._micros()
        if micros is not None:
            self.read(name)
        return micros

    def _micros(self) -> Optional[int]:
        """None where no event is handled."""
        offset, _ = self.calls.place()
        batch = self.calls.batch
        if offset < 0 or batch is None:
            return None
        found = self.calls.recorded("clock", "now")
        self._enter()
        if found and isinstance(found[0], str):
            self._told = _micros_of(found[0])
        if self._told is not None:
            return self._told
        times = batch.numbers("time")
        index = min(bisect_left(batch.offsets, offset), len(times) - 1)
        while index >= 0 and times[index] == _NO_NUMBER:
            index -= 1  # what has no time happened when the one before did
        if index >= 0:
            self._last = int(times[index])
        return self._last

    def read(self, name: str) -> None:
        """Note that a clock or random numbers were read."""
        offset, key = self.calls.place()
        if offset >= 0:
            place = offset, None if self.calls.routing else key
            self._reads.setdefault(place, {})[name] = None

    def _replace(self, module: Any, name: str, made: Callable[[Any], Any]) -> Any:
        real = getattr(module, name)
        own, what = made(real), f"{module.__name__}.{name}"

        def read(*args: Any, **named: Any) -> Any:
            if self.calls.place()[0] < 0:
                return real(*args, **named)
            self.read(what)
            return own(*args, **named)

        read.__name__, read.__doc__ = name, getattr(real, "__doc__", None)
        setattr(module, name, read)
        return read

    def _of_event(self, real: Any) -> Callable[..., Any]:
        """A function of the module's hidden generator, which each event seeds anew."""

        def drawn(*args: Any, **named: Any) -> Any:
            place = self.calls.place()
            if self._seeded != place:
                random.seed(self._digest(_UNSEEDED))
            return real(*args, **named)

        return drawn

    def _numpy(self, module: Any) -> None:
        """The same for the hidden generator of numpy."""
        hidden = getattr(getattr(module, "mtrand", None), "_rand", None)
        seed = getattr(module, "seed", None)
        seeded: List[Tuple[int, Optional[str]]] = [(-1, None)]

        def of_event(real: Any) -> Callable[..., Any]:
            def drawn(*args: Any, **named: Any) -> Any:
                place = self.calls.place()
                if seeded[0] != place and real is not seed and seed is not None:
                    seed(int.from_bytes(self._digest("numpy")[:4], "big"))
                seeded[0] = place
                return real(*args, **named)

            return drawn

        for name in dir(module):
            if hidden is not None and getattr(getattr(module, name), "__self__", None) is hidden:
                self._replace(module, name, of_event)

    def _seed_by_event(self) -> None:
        """Let generators that are given no seed take one from the event."""
        seed, own = Random.seed, self
        seed_hidden = random.seed

        def seeded_hidden(a: Any = None, version: int = 2) -> None:
            own._seeded = own.calls.place()
            if a is None and own._seeded[0] >= 0:
                a = own._digest(_UNSEEDED)
            seed_hidden(a, version)

        random.seed = seeded_hidden

        def seeded(generator: Random, a: Any = None, version: int = 2) -> None:
            if a is None and own.calls.place()[0] >= 0:
                own.read("random.Random")
                a = own.next(f"Random {_caller(2)}")
            seed(generator, a, version)

        Random.seed = seeded  # type: ignore[method-assign, assignment]

    def _bytes(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += self.next("urandom")
        return found[:size]

    def _uuid(self, purpose: str) -> UUID:
        return UUID(bytes=self.next(purpose)[:16], version=4)

    def _stream(self, purpose: str) -> Random:
        self._enter()
        if purpose not in self._streams:
            self._streams[purpose] = Random(self._digest(purpose))  # noqa: S311 - it must be foreseeable
        return self._streams[purpose]

    def next(self, purpose: str) -> bytes:
        """32 bytes, others for each time that a purpose asks at an event."""
        self._enter()
        count = self._drawn.get(purpose, 0)
        self._drawn[purpose] = count + 1
        return self._digest(f"{purpose} {count}")

    def _enter(self) -> None:
        place = self.calls.place()
        if place != self._at:
            self._at, self._drawn, self._streams, self._told = place, {}, {}, None

    def _digest(self, purpose: str) -> bytes:
        offset, key = self.calls.place()
        words = (self._event(offset), self._name, key or "", purpose)
        return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).digest()

    def _event(self, offset: int) -> str:
        """What an event is known by wherever it is handled: its id, or its place in its stream."""
        batch = self.calls.batch
        if batch is None or offset < 0:
            return ""
        known = batch.id_of(offset)
        if known is not None:
            return str(known)
        revision = batch.numbers("revision")[bisect_left(batch.offsets, offset)]
        return f"{batch.stream_of(offset)}@{offset if revision == _NO_NUMBER else revision}"


_NUMBERS = ("random", "randrange", "randint", "uniform", "choice", "choices", "shuffle", "sample")
_DISTRIBUTIONS = (
    *("getrandbits", "randbytes", "gauss", "normalvariate", "lognormvariate", "expovariate"),
    *("vonmisesvariate", "gammavariate", "betavariate", "paretovariate", "weibullvariate"),
    *("triangular", "binomialvariate"),
)


def _caller(depth: int = 1) -> str:
    """The user's function that asks, so that one more that asks doesn't shift the others."""
    frame: Any = sys._getframe(depth + 1)
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_name


def _micros_of(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int((moment - _EPOCH) / timedelta(microseconds=1))
