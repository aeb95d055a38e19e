"""Number columns hold the numbers of the states, and answers are the same without them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replay.history import catalogue
from replay.history.history import History
from replay.query import condition_search, running_aggregates
from storage.errors import QueryError
from tests.support.projection_studio import Studio, small_flushes
from tests.support.properties import examples

PROJECTION = """
    def on_Set(state, event): return event.data
    def on_Gone(state, event): return event.DELETED
"""
CONDITIONS = (
    "state.n > 1",
    "NOT state.n <= state.in.m",
    "state.n IS NULL",
    "state.n - state.in.m = 0.5",
)
OF_ALL = ("sum(state.n) > 3", "avg(state.in.m) < 1", "count(*) > 2", "count(state.n) > 1")

PLAIN = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.1, 0.5, 1.25, -7.3, 123456789.01, 1e-7, 8999999999999999, -0.0]),
)
ODD = st.sampled_from(
    ["1", "x", True, False, [1], {"a": 1}, 9007199254740993, 1e300, 12345678901234567.25]
)


def member(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def documents(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    inside = st.fixed_dictionaries({}, optional={"m": member(numbers)})
    return st.fixed_dictionaries({}, optional={"n": member(numbers), "in": inside, "s": st.text()})


def logs(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    event = st.tuples(st.sampled_from("xyz"), st.one_of(st.none(), documents(numbers)))
    return st.lists(event, min_size=1, max_size=40)


def folded(studio: Studio, events: list[Any], flush: int = 10) -> History:
    studio.file("p.py", PROJECTION)
    studio.events(
        *((key, "Gone" if state is None else "Set", state or {}) for key, state in events)
    )
    with small_flushes(flush):
        return studio.history()


def rows(history: History, columns: str) -> list[tuple[Any, ...]]:
    with history.workspace.reading() as connection:
        return connection.execute(f"SELECT {columns} FROM history ORDER BY change").fetchall()


def kept(history: History) -> list[str | None]:
    found: list[str | None] = json.loads(history.fold_record.number_columns or "[]")
    return found


def forget(history: History) -> History:
    """The same history as if no numbers had been kept."""
    with history.workspace.writing() as connection:
        connection.execute("UPDATE folds SET numbers = '[]'")
        connection.execute("UPDATE history SET number1 = NULL, number2 = NULL, number3 = NULL")
    return History(history.workspace, catalogue.list_folds(history.workspace)[-1])


def answers(history: History) -> list[Any]:
    found: list[Any] = []
    for condition in CONDITIONS:
        turned = [
            list(ask(history, condition))
            for ask in (condition_search.find_became_true, condition_search.find_became_false)
        ]
        found.append([hit for stretches in turned for s in stretches for hit in s.transitions])
        found.append(sum(stretch.mismatched_states for stretch in turned[0]))
    for condition in OF_ALL:
        try:
            found += [
                row
                for stretch in running_aggregates.scan_aggregate_transitions(history, condition)
                for row in stretch.transitions
            ]
        except QueryError as error:
            found.append(str(error))  # a number is too large for a sum
    return found


@settings(
    max_examples=examples(12),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.one_of(logs(PLAIN), logs(st.one_of(PLAIN, ODD))))
def test_answers_are_the_same_without_number_columns(new_studio: Any, events: list[Any]) -> None:
    history = folded(new_studio(), events)
    with_numbers = answers(history)
    assert with_numbers == answers(forget(history))


def test_number_columns_hold_the_numbers_of_the_states(studio: Studio) -> None:
    history = folded(
        studio,
        [
            ("x", {"n": 1, "in": {"m": 0.5}}),
            ("x", {"in": {"m": None}}),
            ("x", None),
            ("y", {"n": -2}),
        ],
    )
    assert kept(history) == ["/n"]
    asked = "number1, isnan(number1), json_extract(state, '/n')"
    assert rows(history, asked)[:2] == [(1.0, False, "1"), (None, None, None)]
    assert rows(history, asked)[2][1:] == (True, None)
    assert rows(history, asked)[3] == (-2.0, False, "-2")


def test_a_path_with_anything_else_is_given_up_and_the_others_stay(studio: Studio) -> None:
    state = {"n": 1, "in": {"m": 2}, "long": 3, "later": 4}
    others = {**state, "n": "1"}, {**state, "long": 9007199254740993}, {**state, "later": True}
    plain = [("x", {**state, "in": {"m": m}}) for m in range(20)]
    history = folded(studio, plain + [("x", other) for other in others], flush=5)
    assert sorted(map(str, kept(history))) == ["/in/m", "None", "None", "None"]
    column = f"number{kept(history).index('/in/m') + 1}"
    assert [m for (m,) in rows(history, column)] == [*range(20), 2, 2, 2]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ({"a b": 1, "c'd": 2, 'e"f': 3, "": 4, "g.h": 5, "ok": 6}, ["/ok"]),
        ({"n": 1, "N": 2}, ["/n"]),
        ({"n": {"n": {"n": {"n": 1}}}}, []),
        ({f"n{i}": i for i in range(20)}, [f"/n{i}" for i in range(8)]),
        ([1, 2], []),
        ({"flag": True, "text": "1", "nothing": None}, []),
    ],
)
def test_paths_that_are_chosen(studio: Studio, state: Any, found: list[str]) -> None:
    studio.file("p.py", "def on_Set(state, event): return event.data['state']")
    studio.events(*[("x", "Set", {"state": state})] * 3)
    assert kept(studio.history()) == found


def test_a_number_where_others_have_an_object(studio: Studio) -> None:
    history = folded(studio, [("x", {"n": 1}), ("x", {"n": {"m": 2}}), ("x", {"n": 3})] * 4, 2)
    assert kept(history) == [None]
    assert [
        h.offset
        for s in condition_search.find_became_true(history, "state.n > 2")
        for h in s.transitions
    ] == [
        2,
        5,
        8,
        11,
    ]


def test_a_log_that_grew_goes_on_with_the_same_columns(studio: Studio) -> None:
    first = folded(studio, [("x", {"n": n}) for n in range(12)])
    assert kept(first) == ["/n"]
    grown = folded(studio, [("x", {"more": 5, "n": n}) for n in range(12, 24)])
    assert kept(grown) == ["/n"]
    assert rows(grown, "number1, number2") == [(n, None) for n in range(24)]
    odd = folded(studio, [("y", {"n": "text"})])
    assert kept(odd) == [None]
    assert [
        h.offset
        for s in condition_search.find_became_true(odd, "state.n = 'text'")
        for h in s.transitions
    ] == [24]


def test_decimals_are_read_from_the_states(studio: Studio) -> None:
    studio.file("p.py", "DECIMALS = True\ndef on_Set(state, event): return event.data")
    with studio.log.open("w") as stream:
        for number in ("12345678901234567.25", "12345678901234567.26"):
            stream.write(f'{{"stream":"x","type":"Set","data":{{"n":{number}}}}}\n')
    studio.events()
    history = studio.history()
    asked = "state.n > 12345678901234567.255"
    assert [
        h.offset for s in condition_search.find_became_true(history, asked) for h in s.transitions
    ] == [1]
