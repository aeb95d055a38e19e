"""Transitions of a condition are the same as those of a naive walk through all states."""

import json
import random
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pytest

from replay.history.history import History
from replay.query import condition_search
from replay.query.unknown_paths import describe_unknown_paths
from storage.errors import QueryError, WorkspaceError
from storage.query import condition_parser
from tests.support.projection_studio import Studio, small_flushes

EVENTS = 300
KEYS = "xyz"
NUMBERS = ("-0.4", "0", "0.10", "3", "12345678901234567.25", "12345678901234567.26", "1e300", "-7")
OTHERS = ('"3"', '"paid"', '"it\'s ✓"', "true", "false", "null", '["a","b"]', '{"x":1,"0":"z"}')


def _event(chance: random.Random) -> tuple[str, str | None]:
    if chance.random() < 0.08:
        return chance.choice(KEYS), None
    names = [name for name in ("n", "m", "s", "a b", "offset") if chance.random() < 0.8]
    members = (f"{json.dumps(n)}:{chance.choice(NUMBERS + OTHERS)}" for n in names)
    return chance.choice(KEYS), "{" + ",".join(members) + "}"


CHANCE = random.Random(11)
STATES = [_event(CHANCE) for _ in range(EVENTS)]


@pytest.fixture(scope="module", params=["decimals", "floats"])
def history(request: Any, tmp_path_factory: pytest.TempPathFactory) -> History:
    studio = Studio(tmp_path_factory.mktemp("moments"))
    with studio.log.open("w") as stream:
        for key, text in STATES:
            kind = "Gone" if text is None else "Set"
            stream.write(f'{{"stream":"{key}","type":"{kind}","data":{text or "{}"}}}\n')
    studio.events()
    decimals = "DECIMALS = True" if request.param == "decimals" else ""
    studio.file(
        "p.py",
        f"""
        {decimals}
        def on_Set(state, event): return event.data
        def on_Gone(state, event): return event.DELETED
        """,
    )
    with small_flushes():
        return studio.history()


@pytest.fixture(autouse=True, params=["many_stretches", None], ids=["short", "long"])
def _stretches(request: Any) -> None:
    if request.param:
        request.getfixturevalue(request.param)


def hits(found: Iterable[condition_search.TransitionPage]) -> list[condition_search.Transition]:
    return [hit for stretch in found for hit in stretch.transitions]


def number(value: Any) -> Any:
    return (
        value if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else None
    )


def text(value: Any) -> Any:
    return value if isinstance(value, str) else None


def holds(value: Any, test: Callable[[Any], bool]) -> bool:
    return value is not None and test(value)


N, S = (lambda s: number(s.get("n"))), (lambda s: text(s.get("s")))
CONDITIONS: dict[str, Callable[[dict[str, Any], str, int], bool]] = {
    "state.n < 0": lambda s, k, o: holds(N(s), lambda n: n < 0),
    "0 > state.n": lambda s, k, o: holds(N(s), lambda n: n < 0),
    "state.n = 0.1": lambda s, k, o: holds(N(s), lambda n: n in (0.1, Decimal("0.1"))),
    "state.n >= 1000": lambda s, k, o: holds(N(s), lambda n: n >= 1000),
    "state.n BETWEEN 0 AND 3": lambda s, k, o: holds(N(s), lambda n: 0 <= n <= 3),
    "state.n IN (3, -7)": lambda s, k, o: N(s) in (3, -7),
    "state.n NOT IN (3, -7)": lambda s, k, o: N(s) not in (3, -7),
    "NOT state.n = 3": lambda s, k, o: N(s) != 3,
    "state.n IS NULL": lambda s, k, o: s.get("n") is None,
    "state.n IS NOT NULL": lambda s, k, o: s.get("n") is not None,
    "state.s = '3'": lambda s, k, o: S(s) == "3",
    "state.s = 'it''s ✓'": lambda s, k, o: S(s) == "it's ✓",
    "state.s LIKE '%a%'": lambda s, k, o: holds(S(s), lambda t: "a" in t),
    "upper(state.s) = 'PAID'": lambda s, k, o: S(s) == "paid",
    "contains(state.s, 'aid')": lambda s, k, o: holds(S(s), lambda t: "aid" in t),
    "state.n": lambda s, k, o: s.get("n") is True,
    "state.n = false": lambda s, k, o: s.get("n") is False,
    'state."a b" > 1': lambda s, k, o: holds(number(s.get("a b")), lambda n: n > 1),
    "state['a b'] > 1": lambda s, k, o: holds(number(s.get("a b")), lambda n: n > 1),
    "state.n[0] = 'a'": lambda s, k, o: s.get("n") == ["a", "b"],
    "state.n.x = 1": lambda s, k, o: s.get("n") == {"x": 1, "0": "z"},
    "state.n['0'] = 'z'": lambda s, k, o: s.get("n") == {"x": 1, "0": "z"},
    "len(state.n) = 2": lambda s, k, o: isinstance(s.get("n"), (list, dict)) or s.get("n") == "xx",
    "state.n + 1 > 3": lambda s, k, o: holds(N(s), lambda n: n + 1 > 3 and n < 10**20),
    "abs(state.n) = 7": lambda s, k, o: N(s) == -7,
    "state.n > state.m": lambda s, k, o: _greater(s.get("n"), s.get("m")),
    "key = 'x' AND offset >= 40": lambda s, k, o: k == "x" and o >= 40,
    "state.offset = 3 OR state.n = 3": lambda s, k, o: 3 in (number(s.get("offset")), N(s)),
}


def _greater(one: Any, other: Any) -> bool:
    for kind in (number, text):
        if kind(one) is not None and kind(other) is not None:
            return bool(one > other)
    return one is True and other is False


@pytest.mark.parametrize("condition", CONDITIONS)
def test_transitions_match_a_naive_walk(history: History, condition):
    test = CONDITIONS[condition]
    # What the handlers were given.
    fraction = Decimal if history.fold_record.round_trips_json is False else float
    held = dict.fromkeys(KEYS, False)
    began, ended = [], []
    for offset, (key, raw) in enumerate(STATES):
        state = None if raw is None else json.loads(raw, parse_float=fraction)
        now = state is not None and test(state, key, offset)
        if now != held[key]:
            (began if now else ended).append((offset, key))
        held[key] = now
    assert [
        (h.offset, h.key) for h in hits(condition_search.find_became_true(history, condition))
    ] == began
    assert [
        (h.offset, h.key) for h in hits(condition_search.find_became_false(history, condition))
    ] == ended
    broken = condition_search.find_invariant_violations(history, "x", f"NOT ({condition})")
    assert [(b.offset, b.key) for b in broken] == began
    assert sorted((b.until, b.key) for b in broken if b.until is not None) == ended
    assert all(b.until is None or b.until > b.offset for b in broken)


@pytest.mark.parametrize("history", ["decimals"], indirect=True)
def test_long_numbers_are_compared_with_all_their_digits(history: History):
    found = hits(condition_search.find_became_true(history, "state.n = 12345678901234567.25"))
    states = history.states_after([(h.offset, h.key) for h in found]).values()
    assert {json.loads(state, parse_float=Decimal)["n"] for state in states} == {
        Decimal("12345678901234567.25")
    }


def test_values_of_another_kind_are_counted(history: History):
    others = sum(
        stretch.mismatched_states
        for stretch in condition_search.find_became_true(history, "state.n < 0")
    )
    values = [json.loads(raw).get("n") for _, raw in STATES if raw]
    # A state that is the same as the one before is no change.
    assert 0 < others <= sum(isinstance(v, (str, bool, list, dict)) for v in values)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("", "is empty"),
        ("state.'a b' > 1", r"doesn't parse.*write \['a b'\] instead of .'a b'"),
        ("state.n <", "doesn't parse"),
        ("state.n > 1) OR (1 = 1", "doesn't parse"),
        ("state.n > 1; SELECT 1", "doesn't parse"),
        ("true LIMIT 1", "doesn't parse"),
        ("state.n > (SELECT 1)", "contains a subquery"),
        ("state.n > sum(state.m)", "uses state.n outside of sum, avg and count"),
        ("sum(state.n + state.s) > 'a'", "compares a number with text"),
        ("sum(sum(state.n)) > 0", "calls sum"),
        ("max(state.n) > 0", "calls max.*use sum, avg or count"),
        ("read_text('/etc/passwd') = ''", "calls read_text"),
        ("getenv('HOME') = ''", "calls getenv"),
        ("colour = 3", r"unknown name colour\. Did you mean state\.colour\? Available: state, key"),
        ("key > 3", "compares a number with text"),
        ("3", "has a number where true or false is expected"),
        ("state.n = NULL", "use IS NULL"),
        ("CAST(state.n AS INTEGER) = 3", "contains a cast"),
        ("row_number() OVER () = 1", "contains a window"),
        ("key IS NULL", "other than a value of the state"),
        ("state.n + 99999999999999999999999999 > 3", "Overflow"),
        ("abs(state.n, 2) = 3", "No function matches"),
        ("regexp_matches(state.s, '(')", "can't be evaluated on states"),
        ("? = 3", "contains a parameter"),
    ],
)
def test_invalid_condition_raises_one_line(history: History, condition, message):
    with pytest.raises(QueryError, match=message) as caught:
        hits(condition_search.find_became_true(history, condition))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "damage", ["change = change + 1", "change = 0", "previous = change", "previous = -7"]
)
def test_wrongly_numbered_changes_are_refused(studio: Studio, damage):
    studio.file("p.py", "def apply(state, event): state['n'] = event.offset\n")
    studio.events(*[("a", "T", {})] * 4)
    history = studio.history()
    with studio.workspace.writing() as connection:
        connection.execute(f"UPDATE history SET {damage}")
    for condition in ("state.n > 2", "sum(state.n) > 2"):
        with pytest.raises(WorkspaceError, match="aren't numbered in the order of the log"):
            list(condition_search.find_became_true(history, condition))


def test_whole_numbers_of_many_digits_are_compared_with_all_of_them(studio: Studio):
    studio.file("p.py", "def apply(state, event): state['n'] = event.data['n']\n")
    long = 12345678901234567890123456789
    studio.events(*[("a", "T", {"n": n}) for n in (long, long - 1, -long, 3)])
    history = studio.history()
    assert hits(condition_search.find_became_true(history, f"state.n = {long - 1}")) == [
        condition_search.Transition(1, "a")
    ]
    assert hits(condition_search.find_became_true(history, f"state.n > {long - 1}")) == [
        condition_search.Transition(0, "a")
    ]
    assert hits(condition_search.find_became_true(history, "state.n < 0")) == [
        condition_search.Transition(2, "a")
    ]
    with pytest.raises(QueryError, match="a number has more than 26 digits"):
        list(condition_search.find_became_true(history, "sum(state.n) > 1"))


def test_answers_come_a_stretch_at_a_time(new_studio: Any, many_stretches: None) -> None:
    studio = new_studio()
    studio.events(*(("s", "Set", {"n": n}) for n in range(200)))
    studio.file(
        "p.py",
        """
        def key(event): return [f"k{event.data['n'] * 7 % 11}", "all"]
        def on_Set(state, event): return event.data
        """,
    )
    with small_flushes():
        history = studio.history()
    found = list(condition_search.find_became_true(history, "state.n % 2 = 1 and key = 'all'"))
    assert [hit.offset for stretch in found for hit in stretch.transitions] == list(
        range(1, 200, 2)
    )
    assert len(found) > 3
    last = [stretch.last_offset for stretch in found]
    assert last == sorted(set(last))
    assert last[-1] == 199


def test_a_condition_is_parsed_once_for_all_searches(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.file("p.py", "def apply(state, event): state['n'] = event.data['n']\n")
    studio.events(*[("a", "T", {"n": n}) for n in (1, 5, 2)])
    history = studio.history()
    parsed_texts: list[str] = []
    real = condition_parser.parse_condition

    def count(connection: Any, typed: str, table: str) -> Any:
        parsed_texts.append(typed)
        return real(connection, typed, table)

    monkeypatch.setattr(condition_parser, "parse_condition", count)
    for text in ("state.n > 3", "sum(state.n) > 3"):
        parsed_texts.clear()
        parsed = condition_search.parse_condition(history, text)
        assert len(hits(condition_search.find_became_true(history, parsed))) == 1
        assert len(hits(condition_search.find_became_false(history, parsed))) == 1
        assert len(condition_search.find_invariant_violations(history, "high", parsed)) == 2
        assert describe_unknown_paths(history, parsed) == ""
        assert parsed_texts == [text]
