"""States of every supported type: encoded by the rules, and resumed from any event."""

import re
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.replay.worker_host.test_worker_group import everything
from tests.support.properties import examples

PROJECTION = """
import attrs
import numpy
import pydantic
from array import array
from collections import ChainMap, Counter, OrderedDict, UserString, defaultdict, deque, namedtuple
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from ipaddress import ip_address
from pathlib import PurePosixPath
from uuid import UUID

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

class Level(IntEnum):
    LOW = 1

Pair = namedtuple("Pair", "one two")

@dataclass
class Line:
    sku: str
    prices: list = field(default_factory=list)

@attrs.define
class Box:
    lines: list
    n: int = 0

class Model(pydantic.BaseModel):
    at: datetime
    amount: Decimal
    tags: set

class Fixed(Mapping):
    __slots__ = ()
    def __getitem__(self, name): return {1: "x"}[name]
    def __iter__(self): return iter([1])
    def __len__(self): return 1

class One(Set):
    __slots__ = ()
    def __contains__(self, item): return item == 1
    def __iter__(self): return iter([1])
    def __len__(self): return 1

class Plain:
    __slots__ = ("n", "seen")
    def __init__(self, n): self.n, self.seen = n, {n}

class Open:
    def __init__(self, n): self.n, self.when = n, timedelta(seconds=n)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

MADE = {
    "int": lambda n: n, "big": lambda n: n * 10 ** 30, "float": lambda n: n / 7, "text": lambda n: "ü" * n,
    "nan": lambda n: float("nan"), "infinity": lambda n: float("inf"), "none": lambda n: None,
    "decimal": lambda n: Decimal(n) / 4, "datetime": lambda n: AT + timedelta(days=n),
    "date": lambda n: date(2026, 1, 1 + n % 28), "time": lambda n: time(n % 24),
    "delta": lambda n: timedelta(hours=n), "uuid": lambda n: UUID(int=n), "bytes": lambda n: bytes([n]),
    "set": lambda n: {n, "x"}, "frozen": lambda n: frozenset([n]), "tuple": lambda n: (n, (n,)),
    "enum": lambda n: [Colour.RED, Colour.BLUE][n % 2], "intenum": lambda n: Level.LOW,
    "pair": lambda n: Pair(n, [n]), "line": lambda n: Line("s", [n, Decimal("1.10")]),
    "box": lambda n: Box([Line("a")], n), "model": lambda n: Model(at=AT, amount=Decimal(n), tags={"a"}),
    "plain": Plain, "open": Open, "keys": lambda n: {n: "int", (1, n): "tuple", Colour.RED: "enum"},
    "ordered": lambda n: OrderedDict(b=n, a=1), "default": lambda n: defaultdict(list, a=[n]),
    "counter": lambda n: Counter(a=n), "list": lambda n: [n, [n, {"n": n}]],
    "deque": lambda n: deque([n, {n}], maxlen=3), "range": lambda n: range(n),
    "array": lambda n: array("d", [n]),
    "number": lambda n: numpy.int64(n), "matrix": lambda n: numpy.full((1, 2), n, numpy.float32),
    "fixed": lambda n: Fixed(), "one": lambda n: One(), "string": lambda n: UserString("ü" * n),
    "fraction": lambda n: Fraction(n, 4), "path": lambda n: PurePosixPath("/tmp") / str(n),
    "address": lambda n: ip_address(n), "chain": lambda n: ChainMap({n: 1}, {"a": 2}),
}

def on_Put(state, event):
    state[event.data["name"]] = MADE[event.data["type"]](event.data["n"])

def on_Grown(state, event):
    # Operations that work on the real types, but not on values from their JSON.
    for name, value in list(state.items()):
        n = event.data["n"]
        if isinstance(value, set): value.add(n)
        elif isinstance(value, Decimal): state[name] = value + Decimal("0.01")
        elif isinstance(value, (datetime, date)): state[name] = value + timedelta(days=1)
        elif isinstance(value, (Line,)): value.prices.append(n)
        elif isinstance(value, Box): value.n += n; value.lines.append(Line(str(n)))
        elif isinstance(value, Model): value.tags.add(str(n)); value.amount += n
        elif isinstance(value, Plain): value.seen.add(n)
        elif isinstance(value, tuple) and type(value) is tuple: state[name] = value + (n,)
        elif isinstance(value, bytes): state[name] = value + bytes([n])
        elif isinstance(value, Colour): state[name] = Colour.BLUE
        elif isinstance(value, defaultdict): value["new"].append(n)
        elif isinstance(value, Counter): value.update(["b"])
        elif isinstance(value, dict) and n in value: value[n] += "!"
        elif isinstance(value, bool) or value is None: pass
        elif isinstance(value, int): state[name] = value + n

def on_Shared(state, event):
    shared = state.setdefault("shared", {"n": []})
    state["twice"] = shared
    shared["n"].append(event.data["n"])

def on_Gone(state, event): return event.DELETED

def on_Broken(state, event):
    on_Grown(state, event)
    raise ValueError("after it was changed")
"""

TYPES = tuple(re.findall(r'"(\w+)": (?:lambda|Plain|Open)', PROJECTION))
NUMBERS = st.integers(0, 9)
EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from("ab"),
            st.just("Put"),
            st.fixed_dictionaries(
                {"name": st.sampled_from("xyz"), "type": st.sampled_from(TYPES), "n": NUMBERS}
            ),
        ),
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from(("Grown", "Grown", "Shared", "Gone", "Broken")),
            st.fixed_dictionaries({"n": NUMBERS}),
        ),
    ),
    min_size=6,
    max_size=24,
)


@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=EVENTS, cut=st.integers(1, 23), routed=st.booleans(), workers=st.integers(1, 2))
def test_a_fold_resumed_anywhere_equals_a_fold_from_the_start(
    new_studio_of_module: Any, events: Any, cut: int, routed: bool, workers: int
) -> None:
    resumed, whole = new_studio_of_module(), new_studio_of_module()
    source = PROJECTION + ("def key(event): return [event.stream, 'all']\n" if routed else "")
    for studio in (resumed, whole):
        studio.file("p.py", source)
    cut = min(cut, len(events) - 1)
    resumed.events(*events[:cut])
    resumed.fold()
    resumed.events(*events[cut:])
    folded = resumed.fold(workers=workers)
    whole.events(*events)
    straight = whole.fold()
    found = [
        everything(studio, f.projection_number)
        for studio, f in ((resumed, folded), (whole, straight))
    ]
    for tables in found:
        # Whether documents round-trip may become known later in one of the two folds.
        tables["folds"] = [row[:-1] for row in tables["folds"]]
    assert found[0] == found[1]


def test_every_type_is_encoded_by_the_rules(studio: Any) -> None:
    studio.file("p.py", PROJECTION)
    studio.events(*[("a", "Put", {"name": kind, "type": kind, "n": 3}) for kind in TYPES])
    folded = studio.fold()
    assert studio.failures(folded) == []
    *_, (_, _, state) = studio.changes(folded)
    assert state == {
        "int": 3,
        "big": 3 * 10**30,
        "float": 3 / 7,
        "text": "üüü",
        "nan": "NaN",
        "infinity": "Infinity",
        "none": None,
        "decimal": 0.75,
        "time": "03:00:00",
        "datetime": "2026-01-05T03:04:05+00:00",
        "date": "2026-01-04",
        "delta": "3:00:00",
        "uuid": "00000000-0000-0000-0000-000000000003",
        "bytes": "Aw==",
        "set": ["x", 3],
        "frozen": [3],
        "tuple": [3, [3]],
        "enum": "blue",
        "intenum": 1,
        "pair": {"one": 3, "two": [3]},
        "line": {"sku": "s", "prices": [3, 1.1]},
        "box": {"lines": [{"sku": "a", "prices": []}], "n": 3},
        "model": {"at": "2026-01-02T03:04:05+00:00", "amount": 3, "tags": ["a"]},
        "plain": {"n": 3, "seen": [3]},
        "open": {"n": 3, "when": "0:00:03"},
        "keys": {"3": "int", "[1,3]": "tuple", "red": "enum"},
        "ordered": {"b": 3, "a": 1},
        "default": {"a": [3]},
        "counter": {"a": 3},
        "list": [3, [3, {"n": 3}]],
        "deque": [3, [3]],
        "range": [0, 1, 2],
        "array": [3.0],
        "number": 3,
        "matrix": [[3.0, 3.0]],
        "fixed": {"1": "x"},
        "one": [1],
        "string": "üüü",
        "fraction": "3/4",
        "path": "/tmp/3",
        "address": "0.0.0.3",
        "chain": {"maps": [{"3": 1}, {"a": 2}]},
    }
    assert folded.round_trips_json is False


def test_a_state_that_json_cannot_hold_is_a_failure_with_its_path(studio: Any) -> None:
    source = """
        def on_Keys(state, event): state["m"] = {1: 2, "1": 3}
        def on_Digits(state, event): state["n"] = [10 ** 6000]
        def on_Good(state, event): state["n"] = 1
    """
    studio.file("p.py", source)
    studio.events(("a", "Good", {}), ("a", "Keys", {}), ("a", "Digits", {}), ("b", "Good", {}))
    folded = studio.fold()
    messages = [failure.error.partition(": ")[2] for failure in studio.failures(folded)]
    assert messages == [
        "state.m has two keys with the same name in JSON",
        "state.n[0] has more digits than Python converts to text",
    ]
    assert [(key, state) for _, key, state in studio.changes(folded)] == [
        ("a", {"n": 1}),
        ("b", {"n": 1}),
    ]


def test_errors_outside_exception_are_failures_too(studio: Any) -> None:
    source = """
        import asyncio
        def on_Cancelled(state, event): raise asyncio.CancelledError("of a task")
        def on_Left(state, event): raise GeneratorExit
        async def on_Awaited(state, event): raise asyncio.CancelledError
        def on_Good(state, event): state["n"] = event.offset
    """
    studio.file("p.py", source)
    studio.events(*[("a", kind, {}) for kind in ("Cancelled", "Left", "Awaited", "Good")])
    folded = studio.fold()
    assert [failure.error.split(".")[-1] for failure in studio.failures(folded)] == [
        "CancelledError: of a task",
        "GeneratorExit",
        "CancelledError",
    ]
    assert studio.changes(folded) == [(3, "a", {"n": 3})]
