"""Aggregates, invariants and series give the same results as a naive walk through all states."""

import json
import math
import random
from decimal import Decimal
from typing import Any

import pytest

from replay.history.history import History
from replay.query import condition_search, invariants
from replay.query.series import compute_series
from storage.errors import QueryError
from tests.support.projection_studio import Studio, small_flushes

EVENTS = 240
KEYS = ("x", "y", "it's ✓")
NUMBERS = ("-3", "0", "0.1", "0.2", "7.25", "1234567.5", "null", '"3"', "true")
CHANCE = random.Random(5)
STATES = [
    (
        CHANCE.choice(KEYS),
        None
        if CHANCE.random() < 0.1
        else {name: CHANCE.choice(NUMBERS) for name in ("n", "m", "a b") if CHANCE.random() < 0.8},
    )
    for _ in range(EVENTS)
]
LONG = "12345678901234567890.000000000001"


pytestmark = pytest.mark.usefixtures("many_stretches")


def _log(studio: Studio, states: list[Any], projection: str) -> History:
    with studio.log.open("w") as stream:
        for key, members in states:
            kind = "Gone" if members is None else "Set"
            named = ",".join(f"{json.dumps(n)}:{v}" for n, v in (members or {}).items())
            line = f'"stream":{json.dumps(key)},"type":"{kind}","data":{{{named}}}'
            stream.write(f"{{{line}}}\n")
    studio.events()
    studio.file("p.py", projection)
    with small_flushes():
        return studio.history()


PROJECTION = """
    {decimals}
    def on_Set(state, event): return event.data
    def on_Gone(state, event): return event.DELETED
"""


@pytest.fixture(scope="module", params=["DECIMALS = True", ""], ids=["decimals", "floats"])
def history(request: Any, tmp_path_factory: pytest.TempPathFactory) -> History:
    studio = Studio(tmp_path_factory.mktemp("all"))
    return _log(studio, STATES, PROJECTION.format(decimals=request.param))


def _number(members: dict[str, str], name: str) -> Decimal | None:
    text = members.get(name, "null")
    return Decimal(text) if text[0] in "-0123456789" else None


def _sum(name: str, documents: dict[str, dict[str, str]]) -> Decimal:
    return sum((_number(m, name) or Decimal(0) for m in documents.values()), Decimal(0))


def _avg(documents: dict[str, dict[str, str]]) -> Decimal | None:
    numbers = [n for m in documents.values() if (n := _number(m, "n")) is not None]
    return sum(numbers, Decimal(0)) / len(numbers) if numbers else None


VALUES = {
    "sum(state.n)": lambda d: _sum("n", d),
    "sum(state.n) - sum(state.m) * 2": lambda d: _sum("n", d) - _sum("m", d) * 2,
    "count(*)": lambda d: Decimal(len(d)),
    "count(state.n)": lambda d: Decimal(sum(m.get("n", "null") != "null" for m in d.values())),
    "count(state.n > 0)": lambda d: Decimal(sum((_number(m, "n") or 0) > 0 for m in d.values())),
    "sum(state['a b'])": lambda d: _sum("a b", d),
    "sum(state.n + state.m)": lambda d: sum(
        (
            (_number(m, "n") or Decimal(0)) + (_number(m, "m") or Decimal(0))
            for m in d.values()
            if _number(m, "n") is not None and _number(m, "m") is not None
        ),
        Decimal(0),
    ),
    "avg(state.n)": _avg,
}


def _walk(value: Any, states: list[Any] = STATES) -> list[Decimal | None]:
    """The value after each event; before the log it doesn't count."""
    documents: dict[str, dict[str, str]] = {}
    found = []
    for key, members in states:
        if members is None:
            documents.pop(key, None)
        else:
            documents[key] = members
        found.append(value(documents))
    return found


@pytest.mark.parametrize("text", VALUES)
@pytest.mark.parametrize("bound", ["= 0", "> 5", "<= 1234567.6"])
def test_transitions_of_aggregate_conditions_match_a_naive_walk(history: History, text, bound):
    numbers = _walk(VALUES[text])
    sign, limit = bound.split()
    tests = {"=": lambda n: n == Decimal(limit), ">": lambda n: n > Decimal(limit)}
    test = tests.get(sign, lambda n: n <= Decimal(limit))
    held, began, ended = False, [], []
    for offset, number in enumerate(numbers):
        now = number is not None and bool(test(number))
        if now != held:
            (began if now else ended).append(offset)
        held = now
    condition = f"{text} {bound}"
    for asked, expected in (
        (condition_search.find_became_true, began),
        (condition_search.find_became_false, ended),
    ):
        stretches = list(asked(history, condition))
        assert [hit.offset for stretch in stretches for hit in stretch.transitions] == expected
        assert all(hit.offset <= s.last_offset for s in stretches for hit in s.transitions)


@pytest.mark.parametrize("text", VALUES)
@pytest.mark.parametrize("ends", [[EVENTS - 1], [-1, 19, 19, 20, 150, EVENTS - 1]])
def test_values_over_time_keep_the_lowest_and_the_highest(history: History, text, ends):
    numbers = _walk(VALUES[text])
    found = compute_series(history, text, ends)
    before = math.nan
    first = 0
    for place, end in enumerate(ends):
        within = [math.nan if n is None else float(n) for n in numbers[first : end + 1]]
        seen = [n for n in [before, *within] if not math.isnan(n)]
        before = within[-1] if within else before
        _same(found.low[place], min(seen, default=math.nan))
        _same(found.high[place], max(seen, default=math.nan))
        _same(found.last[place], before)
        first = end + 1


def _same(one: float, other: float) -> None:
    assert one == pytest.approx(other, nan_ok=True)


def test_division_by_zero_makes_a_comparison_false(history: History):
    assert not any(
        s.transitions for s in condition_search.find_became_true(history, "sum(state.n) / 0 > 1")
    )
    assert not any(
        s.transitions for s in condition_search.find_became_true(history, "state.n / 0 > 1")
    )
    assert compute_series(history, "sum(state.n) / 0", [EVENTS - 1]).is_empty


def test_series_of_a_document_ends_with_its_deletion(history: History):
    found = compute_series(history, "state.n", list(range(EVENTS)), "x")
    now = math.nan
    for offset, (key, members) in enumerate(STATES):
        if key == "x":
            number = None if members is None else _number(members, "n")
            text = (members or {}).get("n", "null")
            # What Decimals are written as in JSON is text, so digits in text are a number too.
            now = 3.0 if text == '"3"' else math.nan if number is None else float(number)
        _same(found.last[offset], now)
    assert compute_series(history, "state.nowhere", [EVENTS - 1], "x").is_empty


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("state.n", None, "a value of one document"),
        ("sum(state.n", None, "doesn't parse"),
        ("nothing.n", "x", r"unknown name nothing\.n"),
        ("count(DISTINCT state.n)", None, "uses DISTINCT, FILTER or ORDER"),
        ("count(*) FILTER (WHERE state.n > 0)", None, "uses DISTINCT, FILTER or ORDER"),
        ("sum(state.n) + state.m", "x", r"uses state\.m outside of sum, avg and count"),
    ],
)
def test_series_of_invalid_expression_raises(history: History, text, key, message):
    with pytest.raises(QueryError, match=message):
        compute_series(history, text, [EVENTS - 1], key)


@pytest.mark.parametrize("decimals", ["DECIMALS = True", ""])
def test_numbers_with_more_digits_than_millionths_are_summed_exactly(new_studio, decimals):
    big, small = "9007199254740993", "0.00000001"
    states = [("x", {"n": small}), ("y", {"n": big}), ("x", {"n": "0"}), ("y", {"n": "0"})]
    history = _log(new_studio(), states, PROJECTION.format(decimals=decimals))
    [stretch] = condition_search.find_became_true(history, "sum(state.n) = 0")
    assert [hit.offset for hit in stretch.transitions] == [3]
    [stretch] = condition_search.find_became_true(history, "sum(state.n) > 0")
    assert [hit.offset for hit in stretch.transitions] == [0]


INVARIANTS = """
    INVARIANTS = {
        "small": lambda state: state["n"] < 5,
        "even": lambda state: state["n"] % 2 == 0,
        "few": "sum(state.n) <= 8",
        "known": "state.n IS NOT NULL",
    }
    def on_Set(state, event): return event.data
    def on_Bad(state, event): state["n"] = 99; raise ValueError
    def on_Gone(state, event): return event.DELETED
"""
SET = [
    ("x", "Set", {"n": 2}),
    ("y", "Set", {"n": 7}),
    ("x", "Bad", {}),
    ("y", "Set", {"n": 8}),
    ("x", "Set", {}),
    ("y", "Gone", {}),
    ("y", "Set", {"n": 3}),
    ("x", "Set", {"n": 4}),
]
BREAKS = [
    (1, "even", "y", 3, False),
    (1, "few", None, 5, False),
    (1, "small", "y", 5, False),
    (4, "even", "x", 7, True),
    (4, "known", "x", 7, False),
    (4, "small", "x", 7, True),
    (6, "even", "y", None, False),
]


def _breaks(history: History) -> list[Any]:
    found = invariants.find_violations(history)
    return [(b.offset, b.invariant, b.key, b.until, bool(b.error)) for b in found]


def test_invariant_violations_have_start_and_end(studio: Studio):
    studio.file("p.py", INVARIANTS)
    studio.events(*SET)
    history = studio.history()
    # The sum is 9, then 10, then 8 without x's number, and 0, 3 and 7.
    wanted = [(1, "few", None, 4, False) if b[1] == "few" else b for b in BREAKS]
    assert _breaks(history) == wanted
    errors = {b.error for b in invariants.find_violations(history) if b.offset == 4 and b.error}
    assert errors == {"KeyError: 'n'"}


@pytest.mark.parametrize(
    "cut",
    [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, len(SET)))],
)
def test_invariants_of_a_resumed_fold_are_those_of_a_fold_from_the_start(new_studio, cut):
    whole, resumed = new_studio(), new_studio()
    for studio in (whole, resumed):
        studio.file("p.py", INVARIANTS)
    whole.events(*SET)
    resumed.events(*SET[:cut])
    resumed.fold()
    resumed.events(*SET[cut:])
    assert _breaks(resumed.history()) == _breaks(whole.history())


def test_invariants_of_states_that_are_no_json_and_of_routed_events(studio: Studio):
    studio.file(
        "p.py",
        """
        from decimal import Decimal
        class State:
            def __init__(self): self.total = Decimal(0)
        INVARIANTS = {"not much": lambda state: state.total <= Decimal("0.3")}
        def key(event): return event.data["to"]
        def initial(key): return State()
        def apply(state, event): state.total += Decimal(event.data["n"])
        """,
    )
    studio.events(
        ("s", "Added", {"to": ["a", "b"], "n": "0.1"}),
        ("s", "Added", {"to": ["b"], "n": "0.2"}),
        ("s", "Added", {"to": ["b", "a"], "n": "0.1"}),
        ("s", "Added", {"to": ["b"], "n": "-0.1"}),
    )
    assert _breaks(studio.history()) == [(2, "not much", "b", 3, False)]


@pytest.mark.parametrize("invariants_", ["3", "{'x': 3}", "'text'"])
def test_invalid_invariants_raise_one_line(studio: Studio, invariants_):
    from storage.errors import ProjectionError

    studio.file("p.py", f"INVARIANTS = {invariants_}\ndef apply(state, event): pass\n")
    studio.events(("s", "A", {}))
    with pytest.raises(ProjectionError, match=r"p\.INVARIANTS"):
        studio.fold()


def test_invariants_may_be_functions_in_a_list(studio: Studio):
    studio.file(
        "p.py",
        """
        def positive(state): return state["n"] > 0
        INVARIANTS = [positive]
        def apply(state, event): state.update(event.data)
        """,
    )
    studio.events(("s", "A", {"n": 1}), ("s", "A", {"n": -1}))
    assert _breaks(studio.history()) == [(1, "positive", "s", None, False)]


def test_invariant_that_cannot_be_evaluated_counts_as_violated(studio: Studio):
    studio.file("p.py", "def apply(state, event): state.update(event.data)\n")
    studio.events(("s", "A", {"n": 1}), ("s", "A", {"n": "x"}), ("s", "A", {"n": 2}))
    found = list(invariants.find_violations(studio.history(), {"positive": "state.n > 0"}))
    assert [(b.invariant, b.offset, b.key, b.until) for b in found] == [("positive", 1, "s", 2)]
    with pytest.raises(QueryError, match=r"'state\.n >' doesn't parse"):
        invariants.find_violations(studio.history(), {"x": "state.n >"})
