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

from ..protocol.event import EPOCH, MISSING_NUMBER
from . import clocks
from .import_hooks import patch_when_imported

if TYPE_CHECKING:
    from .calls import CallDispatcher, EventKey

_UNSEEDED_PURPOSE = "random"


class DeterministicTime:
    """What an event gives of time and chance; notes who reads it."""

    def __init__(self, calls: "CallDispatcher", projection_name: str) -> None:
        """Ids and numbers are of the projection of that name."""
        self.calls = calls
        """Which know the event that is being handled."""
        self._projection_name = projection_name
        self._last_time = 0
        """The time of the last event that had one."""
        self._current_event: Tuple[int, Optional[str]] = (-1, None)
        self._draw_counts: Dict[str, int] = {}
        """How often each purpose was drawn for at this event."""
        self._streams: Dict[str, Random] = {}
        self._recorded_time: Optional[int] = None
        """The time at this event, as it was recorded last."""
        self._reads: Dict[EventKey, Dict[str, None]] = {}
        self._seeded_event: Tuple[int, Optional[str]] = (-1, None)

    def take_reads(self) -> List[Dict[str, Any]]:
        """What was read at which event, for which document, since the last time."""
        found, self._reads = self._reads, {}
        return [{"offset": o, "key": key, "read": list(names)} for (o, key), names in found.items()]

    def now(self) -> datetime:
        """The gateway's own: as recorded, or the event's."""
        self.record_read("gateway.now")
        micros = self._event_microseconds()
        return (
            datetime.now(timezone.utc) if micros is None else EPOCH + timedelta(microseconds=micros)
        )

    def random(self, purpose: str) -> float:
        """The next number of a purpose."""
        self.record_read("gateway.random")
        found = self.calls.find_recorded("random", purpose)
        return float(found[0]) if found else self._generator_for(f"gateway {purpose}").random()

    def uuid(self, purpose: str) -> UUID:
        """The next id of a purpose."""
        self.record_read("gateway.uuid")
        found = self.calls.find_recorded("uuid", purpose)
        return UUID(found[0]) if found else self._draw_uuid(f"gateway {purpose}")

    def install(self) -> None:
        """Replace this process's clocks, ids and random numbers."""
        clocks.replace_clocks(self._read_clock)
        self._replace_function(
            uuid, "uuid4", lambda _: lambda: self._draw_uuid(f"uuid4 {_calling_function()}")
        )
        self._replace_function(
            uuid,
            "uuid1",
            lambda _: lambda *_a, **_n: self._draw_uuid(f"uuid1 {_calling_function()}"),
        )
        urandom = self._replace_function(os, "urandom", lambda _: self._draw_bytes)
        # Where `SystemRandom`, and so `secrets`, takes its own from.
        random._urandom = urandom  # type: ignore[attr-defined]
        for name in (*_NUMBER_FUNCTIONS, *_DISTRIBUTION_FUNCTIONS):
            if hasattr(random, name):
                self._replace_function(random, name, self._seed_before)
        self._patch_seeding()
        patch_when_imported({"numpy.random": self._patch_numpy})

    def _read_clock(self, name: str) -> Optional[int]:
        """The event's time in microseconds, for a clock that is read."""
        micros = self._event_microseconds()
        if micros is not None:
            self.record_read(name)
        return micros

    def _event_microseconds(self) -> Optional[int]:
        """None where no event is handled."""
        offset, _ = self.calls.current_event_key()
        batch = self.calls.batch
        if offset < 0 or batch is None:
            return None
        found = self.calls.find_recorded("clock", "now")
        self._reset_for_event()
        if found and isinstance(found[0], str):
            self._recorded_time = _parse_microseconds(found[0])
        if self._recorded_time is not None:
            return self._recorded_time
        times = batch.numbers("time")
        index = min(bisect_left(batch.offsets, offset), len(times) - 1)
        while index >= 0 and times[index] == MISSING_NUMBER:
            index -= 1  # what has no time happened when the one before did
        if index >= 0:
            self._last_time = int(times[index])
        return self._last_time

    def record_read(self, name: str) -> None:
        """Note that a clock or random numbers were read."""
        offset, key = self.calls.current_event_key()
        if offset >= 0:
            event_key = offset, None if self.calls.is_routing else key
            self._reads.setdefault(event_key, {})[name] = None

    def _replace_function(self, module: Any, name: str, build_own: Callable[[Any], Any]) -> Any:
        real = getattr(module, name)
        own, read_name = build_own(real), f"{module.__name__}.{name}"

        def read(*args: Any, **named: Any) -> Any:
            if self.calls.current_event_key()[0] < 0:
                return real(*args, **named)
            self.record_read(read_name)
            return own(*args, **named)

        read.__name__, read.__doc__ = name, getattr(real, "__doc__", None)
        setattr(module, name, read)
        return read

    def _seed_before(self, real: Any) -> Callable[..., Any]:
        """A function of the module's hidden generator, which each event seeds anew."""

        def drawn(*args: Any, **named: Any) -> Any:
            event_key = self.calls.current_event_key()
            if self._seeded_event != event_key:
                random.seed(self._digest(_UNSEEDED_PURPOSE))
            return real(*args, **named)

        return drawn

    def _patch_numpy(self, module: Any) -> None:
        """The same for the hidden generator of numpy."""
        hidden = getattr(getattr(module, "mtrand", None), "_rand", None)
        seed = getattr(module, "seed", None)
        seeded: List[Tuple[int, Optional[str]]] = [(-1, None)]

        def of_event(real: Any) -> Callable[..., Any]:
            def drawn(*args: Any, **named: Any) -> Any:
                event_key = self.calls.current_event_key()
                if seeded[0] != event_key and real is not seed and seed is not None:
                    seed(int.from_bytes(self._digest("numpy")[:4], "big"))
                seeded[0] = event_key
                return real(*args, **named)

            return drawn

        for name in dir(module):
            if hidden is not None and getattr(getattr(module, name), "__self__", None) is hidden:
                self._replace_function(module, name, of_event)

    def _patch_seeding(self) -> None:
        """Let generators that are given no seed take one from the event."""
        seed, own = Random.seed, self
        seed_hidden = random.seed

        def seeded_hidden(a: Any = None, version: int = 2) -> None:
            own._seeded_event = own.calls.current_event_key()
            if a is None and own._seeded_event[0] >= 0:
                a = own._digest(_UNSEEDED_PURPOSE)
            seed_hidden(a, version)

        random.seed = seeded_hidden

        def seeded(generator: Random, a: Any = None, version: int = 2) -> None:
            if a is None and own.calls.current_event_key()[0] >= 0:
                own.record_read("random.Random")
                a = own.draw(f"Random {_calling_function(2)}")
            seed(generator, a, version)

        Random.seed = seeded  # type: ignore[method-assign, assignment]

    def _draw_bytes(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += self.draw("urandom")
        return found[:size]

    def _draw_uuid(self, purpose: str) -> UUID:
        return UUID(bytes=self.draw(purpose)[:16], version=4)

    def _generator_for(self, purpose: str) -> Random:
        self._reset_for_event()
        if purpose not in self._streams:
            self._streams[purpose] = Random(self._digest(purpose))  # noqa: S311 - it must be foreseeable
        return self._streams[purpose]

    def draw(self, purpose: str) -> bytes:
        """32 bytes, others for each time that a purpose asks at an event."""
        self._reset_for_event()
        count = self._draw_counts.get(purpose, 0)
        self._draw_counts[purpose] = count + 1
        return self._digest(f"{purpose} {count}")

    def _reset_for_event(self) -> None:
        event_key = self.calls.current_event_key()
        if event_key != self._current_event:
            self._current_event, self._draw_counts, self._streams, self._recorded_time = (
                event_key,
                {},
                {},
                None,
            )

    def _digest(self, purpose: str) -> bytes:
        offset, key = self.calls.current_event_key()
        words = (self._event_identity(offset), self._projection_name, key or "", purpose)
        return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).digest()

    def _event_identity(self, offset: int) -> str:
        """What an event is known by wherever it is handled: its id, or its place in its stream."""
        batch = self.calls.batch
        if batch is None or offset < 0:
            return ""
        event_id = batch.id_of(offset)
        if event_id is not None:
            return str(event_id)
        revision = batch.numbers("revision")[bisect_left(batch.offsets, offset)]
        return f"{batch.stream_of(offset)}@{offset if revision == MISSING_NUMBER else revision}"


_NUMBER_FUNCTIONS = (
    "random",
    "randrange",
    "randint",
    "uniform",
    "choice",
    "choices",
    "shuffle",
    "sample",
)
_DISTRIBUTION_FUNCTIONS = (
    *("getrandbits", "randbytes", "gauss", "normalvariate", "lognormvariate", "expovariate"),
    *("vonmisesvariate", "gammavariate", "betavariate", "paretovariate", "weibullvariate"),
    *("triangular", "binomialvariate"),
)


def _calling_function(depth: int = 1) -> str:
    """The user's function that asks, so that one more that asks doesn't shift the others."""
    frame: Any = sys._getframe(depth + 1)
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_name


def _parse_microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int((moment - EPOCH) / timedelta(microseconds=1))
