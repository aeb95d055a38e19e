"""Logpoints write what a print statement in the handler would have written."""

import pytest

from replay.query.logpoints import build_type_condition, evaluate_logpoints
from storage.errors import QueryError
from tests.support.projection_studio import Studio

EVENTS = [
    ("a", "Added", {"n": 1}),
    ("b", "Added", {"n": 5, "note": 'it\'s "so"'}),
    ("a", "Looked", {}),
    ("a", "Added", {"n": 2.5}),
    ("a", "Closed", {}),
    ("a", "Added", {"n": 1}),
]
PROJECTION = """
    def on_Added(state, event): state["n"] = state.get("n", 0) + event.data["n"]
    def on_Looked(state, event): pass
    def on_Closed(state, event): return event.DELETED
"""


def rows(found):
    return [tuple(row.values()) for row in found.rows.to_pylist()]


@pytest.fixture
def history(studio: Studio):
    studio.file("p.py", PROJECTION)
    studio.events(*EVENTS)
    return studio.history()


def test_state_before_and_after_every_event_of_a_type(history):
    found = evaluate_logpoints(
        history, ["state.n", "before.n", "state.n - before.n"], [build_type_condition("Added")]
    )
    assert rows(found) == [
        (0, "a", "1", None, None),
        (1, "b", "5", None, None),
        (3, "a", "3.5", "1", "2.5"),
        (5, "a", "1", None, None),
    ]


def test_an_event_that_changed_nothing_still_sees_the_state(history):
    assert rows(
        evaluate_logpoints(history, ["state.n", "before.n"], [build_type_condition("Looked")])
    ) == [(2, "a", "1", "1")]
    assert rows(
        evaluate_logpoints(history, ["state", "before"], [build_type_condition("Closed")])
    ) == [(4, "a", None, '{"n":3.5}')]


def test_the_event_itself(history):
    found = evaluate_logpoints(
        history, ["data.note", "type", "stream", "offset + 1", "key = 'b'"], limit=2
    )
    assert rows(found) == [
        (0, "a", None, '"Added"', '"a"', "1", "false"),
        (1, "b", '"it\'s \\"so\\""', '"Added"', '"b"', "2", "true"),
    ]


def test_a_text_that_looks_like_numbers_stays_one(studio: Studio):
    studio.file("p.py", "def apply(state, event): state.update(event.data)\n")
    text = 'x,12345678901234567890 [1,2 ":3'
    studio.events(("s", "A", {"t": text, "n": 0.1}))
    found = evaluate_logpoints(studio.history(), ["data.n", "state.n"])
    assert rows(found) == [(0, "s", "0.1", "0.1")]


def test_conditions_add_up(history):
    found = evaluate_logpoints(history, ["data.n"], [build_type_condition("Added"), "offset > 2"])
    assert rows(found) == [(3, "a", "2.5"), (5, "a", "1")]


def test_only_where_a_condition_holds(history):
    found = evaluate_logpoints(
        history, ["data.n"], [build_type_condition("Added")], when="state.n > before.n"
    )
    assert rows(found) == [(3, "a", "2.5")]
    with pytest.raises(QueryError, match="where true or false is expected"):
        evaluate_logpoints(history, ["data.n"], when="1")


def test_a_projection_that_chooses_its_keys(studio: Studio):
    studio.file(
        "p.py",
        """
        def key(event): return event.data["to"]
        def apply(state, event): state["n"] = state.get("n", 0) + 1
        """,
    )
    studio.events(("s", "A", {"to": ["x", "y"]}), ("s", "A", {"to": "y"}), ("s", "A", {"to": []}))
    found = evaluate_logpoints(studio.history(), ["state.n", "before.n"])
    assert rows(found) == [(0, "x", "1", None), (0, "y", "1", None), (1, "y", "2", "1")]


def test_a_type_with_a_quote_in_it(studio: Studio):
    studio.file("p.py", "def apply(state, event): state['n'] = 1\n")
    studio.events(("s", "it's", {}), ("s", "other", {}))
    assert rows(
        evaluate_logpoints(studio.history(), ["state.n"], [build_type_condition("it's")])
    ) == [(0, "s", "1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo.x", r"unknown name foo\.x"),
        ("state.n +", "doesn't parse"),
        ("sum(state.n)", "calls sum, which expressions can't"),
        ("(SELECT 1)", "contains a subquery"),
    ],
)
def test_invalid_expression_raises(history, text, message):
    with pytest.raises(QueryError, match=message):
        evaluate_logpoints(history, [text])
