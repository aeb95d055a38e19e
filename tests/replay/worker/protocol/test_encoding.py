"""States as JSON: plain values round-trip, and all other values are recognized."""

import dataclasses
import enum
import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.projection_studio import Studio
from tests.support.properties import examples

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


class Colour(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Money:
    amount: Decimal
    currency: str


def same_with_types(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=True)
        return all(a == b and same_with_types(x, y) for (a, x), (b, y) in pairs)
    if isinstance(one, list):
        return all(same_with_types(a, b) for a, b in zip(one, other, strict=True))
    return one == other and str(one) == str(other)


@settings(deadline=None, max_examples=examples(300))
@given(value=PLAIN)
def test_plain_values_round_trip_with_the_same_bytes_from_every_encoder(worker, value):
    encoding = worker.protocol.encoding
    value = json.loads(json.dumps(value))  # hypothesis may share parts of a value
    assert encoding.round_trips_json(value)
    text = encoding.build_plain_encoder()(value)
    assert text == encoding.encode_exactly(value)
    assert same_with_types(worker.protocol.event.build_decoder(decimals=False)(text), value)
    with pytest.MonkeyPatch.context() as without_msgspec:
        without_msgspec.setattr(encoding, "msgspec", None)
        assert encoding.build_plain_encoder()(value) == text
        assert encoding.encode_exactly(value) == text


SHARED: list[int] = []
NOT_PLAIN = [
    {1},
    frozenset({"a"}),
    Decimal("1.0"),
    datetime(2026, 1, 1, tzinfo=UTC),
    {1: "a"},
    math.nan,
    math.inf,
    (1, 2),
    Money(Decimal(1), "EUR"),
    Colour.RED,
    {"a": SHARED, "b": SHARED},
    b"bytes",
]


@pytest.mark.parametrize("value", NOT_PLAIN, ids=repr)
def test_values_that_change_in_json_do_not_round_trip(worker, value):
    assert not worker.protocol.encoding.round_trips_json(value)
    assert not worker.protocol.encoding.round_trips_json({"deep": [value]})
    json.loads(worker.protocol.encoding.encode_exactly(value))


def test_the_rules_for_values_that_do_not_round_trip(worker):
    encode = worker.protocol.encoding.encode_exactly
    assert encode({3, 1, 2}) == b"[1,2,3]"
    assert encode(Money(Decimal("1.10"), "EUR")) == b'{"amount":1.10,"currency":"EUR"}'
    assert encode({(1, 2): Colour.RED, None: math.nan}) == b'{"[1,2]":1,"null":"NaN"}'
    assert encode("\ud800") == rb'"\\ud800"'


def test_a_value_without_a_rule_is_reported_by_its_path(worker):
    cycle: dict[str, Any] = {}
    cycle["me"] = cycle
    for value, path in [({"a": [0, print]}, r"state\.a\[1\]"), (cycle, r"state\.me\.me")]:
        with pytest.raises(worker.protocol.encoding.UnencodableError, match=path):
            worker.protocol.encoding.encode_exactly(value)


SETS = """
    from dataclasses import dataclass, field
    from decimal import Decimal

    @dataclass
    class Basket:
        seen: set = field(default_factory=set)
        total: Decimal = Decimal(0)

    def initial(key): return Basket()

    def apply(state, event):
        if event.data["n"] in state.seen:
            raise ValueError("twice")
        state.seen.add(event.data["n"])
        state.total += Decimal(event.data["n"]) / 10
"""


def test_states_with_sets_and_decimals_resume_correctly_after_an_append(studio: Studio):
    studio.file("p.py", SETS)
    studio.events(("a", "T", {"n": 1}), ("b", "T", {"n": 1}))
    assert studio.fold().round_trips_json is False
    studio.events(("b", "T", {"n": 2}))
    studio.fold()
    studio.events(("a", "T", {"n": 2}), ("a", "T", {"n": 1}))
    folded = studio.fold()
    assert [f.offset for f in studio.failures(folded)] == [4]
    assert studio.changes(folded)[-1] == (3, "a", {"seen": [1, 2], "total": 0.3})
    assert studio.changes(studio.fold(force=True)) == studio.changes(folded)


def test_documents_that_do_not_round_trip_stay_known_in_later_folds(
    studio: Studio,
):
    studio.file(
        "p.py",
        """
        def initial(key): return set() if key == "a" else []
        def apply(state, event):
            (state.add if event.stream == "a" else state.append)(event.data["n"])
        """,
    )
    studio.events(("a", "T", {"n": 1}), ("b", "T", {"n": 1}))
    studio.fold()
    studio.events(("b", "T", {"n": 2}))
    assert studio.fold().round_trips_json is False
    studio.events(("a", "T", {"n": 2}))
    folded = studio.fold()
    assert folded.failure_count == 0
    assert studio.changes(folded)[-1] == (3, "a", [1, 2])


def test_a_lone_surrogate_is_shown_and_does_not_stop_a_diff(studio: Studio):
    studio.events(("a", "T", {}), ("a", "T", {}))
    studio.file("p.py", "def apply(state, event): state['\\ud800'] = event.offset\n")
    history = studio.history()
    [difference] = history.document_at("a", 1).differences_to_previous()
    assert (difference.before, difference.after) == (0, 1)
