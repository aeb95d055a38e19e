"""Makes clocks, ids and random numbers deterministic: recorded values, or derived from the event.

The functions are replaced before the user's code is imported, so an unchanged handler reads the
event's time and draws the same ids in every fold. Monotonic clocks are not replaced, because event
loops and timeouts need them. While no event is handled, the real functions run.
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
    """The time, ids and random numbers of the event being handled; records which were read."""

    def __init__(self, calls: "CallDispatcher", projection_name: str) -> None:
        """`projection_name` takes part in deriving ids and random numbers."""
        self.calls = calls
        """Knows the event that is being handled."""
        self._projection_name = projection_name
        self._last_time = 0
        """Time of the last event that had one, in microseconds since 1970 (UTC)."""
        self._current_event: Tuple[int, Optional[str]] = (-1, None)
        self._draw_counts: Dict[str, int] = {}
        """Number of draws for each purpose at this event."""
        self._streams: Dict[str, Random] = {}
        self._recorded_time: Optional[int] = None
        """Last recorded time at this event, in microseconds since 1970 (UTC)."""
        self._reads: Dict[EventKey, Dict[str, None]] = {}
        self._seeded_event: Tuple[int, Optional[str]] = (-1, None)

    def take_reads(self) -> List[Dict[str, Any]]:
        """Return the names that were read since the last call, by event and document."""
        reads, self._reads = self._reads, {}
        return [{"offset": o, "key": key, "read": list(names)} for (o, key), names in reads.items()]

    def now(self) -> datetime:
        """Return the time for `gateway.now`: as recorded, or the event's."""
        self.record_read("gateway.now")
        micros = self._event_microseconds()
        return (
            datetime.now(timezone.utc) if micros is None else EPOCH + timedelta(microseconds=micros)
        )

    def random(self, purpose: str) -> float:
        """Return the next random number of a purpose, in [0, 1): as recorded, or derived."""
        self.record_read("gateway.random")
        recorded = self.calls.find_recorded("random", purpose)
        return (
            float(recorded[0]) if recorded else self._generator_for(f"gateway {purpose}").random()
        )

    def uuid(self, purpose: str) -> UUID:
        """Return the next id of a purpose: as recorded, or derived."""
        self.record_read("gateway.uuid")
        recorded = self.calls.find_recorded("uuid", purpose)
        return UUID(recorded[0]) if recorded else self._draw_uuid(f"gateway {purpose}")

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
        # `SystemRandom`, and therefore `secrets`, reads this name.
        random._urandom = urandom  # type: ignore[attr-defined]
        for name in (*_NUMBER_FUNCTIONS, *_DISTRIBUTION_FUNCTIONS):
            if hasattr(random, name):
                self._replace_function(random, name, self._seed_before)
        self._patch_seeding()
        patch_when_imported({"numpy.random": self._patch_numpy})

    def _read_clock(self, name: str) -> Optional[int]:
        """Return the event's time in microseconds since 1970, and record the read."""
        micros = self._event_microseconds()
        if micros is not None:
            self.record_read(name)
        return micros

    def _event_microseconds(self) -> Optional[int]:
        """Return the event's time in microseconds since 1970; None if no event is handled.

        An event without a time has that of the last event before it that has one.
        """
        offset, _ = self.calls.current_event_key()
        batch = self.calls.batch
        if offset < 0 or batch is None:
            return None
        recorded = self.calls.find_recorded("clock", "now")
        self._reset_for_event()
        if recorded and isinstance(recorded[0], str):
            self._recorded_time = _parse_microseconds(recorded[0])
        if self._recorded_time is not None:
            return self._recorded_time
        times = batch.numbers("time")
        index = min(bisect_left(batch.offsets, offset), len(times) - 1)
        while index >= 0 and times[index] == MISSING_NUMBER:
            index -= 1
        if index >= 0:
            self._last_time = int(times[index])
        return self._last_time

    def record_read(self, name: str) -> None:
        """Record that the current event read a clock, an id or random numbers."""
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
        """Wrap a function of `random`'s hidden generator; each event seeds that generator first."""

        def drawn(*args: Any, **named: Any) -> Any:
            event_key = self.calls.current_event_key()
            if self._seeded_event != event_key:
                random.seed(self._digest(_UNSEEDED_PURPOSE))
            return real(*args, **named)

        return drawn

    def _patch_numpy(self, module: Any) -> None:
        """Do the same for the functions of numpy's hidden generator."""
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
        """Make generators without an explicit seed take one from the event."""
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
        drawn = b""
        while len(drawn) < size:
            drawn += self.draw("urandom")
        return drawn[:size]

    def _draw_uuid(self, purpose: str) -> UUID:
        return UUID(bytes=self.draw(purpose)[:16], version=4)

    def _generator_for(self, purpose: str) -> Random:
        self._reset_for_event()
        if purpose not in self._streams:
            self._streams[purpose] = Random(self._digest(purpose))  # noqa: S311 - must be deterministic
        return self._streams[purpose]

    def draw(self, purpose: str) -> bytes:
        """Return 32 bytes that differ for each draw of a purpose at an event."""
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
        """Return what identifies an event in every log: its id, or its stream and revision.

        An event without either is identified by its stream and offset.
        """
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
    """Return the name of the user's calling function.

    It makes draws independent: a new call in one function doesn't change the draws of others.
    """
    frame: Any = sys._getframe(depth + 1)
    while frame is not None and frame.f_globals.get("__package__") == __package__:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_name


def _parse_microseconds(text: str) -> int:
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    return int((time - EPOCH) / timedelta(microseconds=1))
