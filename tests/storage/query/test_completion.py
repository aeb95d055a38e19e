"""Completions while a query is typed."""

import pytest

from storage.query.completion import complete_query

NAMES = ("orders", "orders@3f2a", "stock")


def offered(typed: str) -> list[str]:
    """Return the words suggested at `|`, or at the end."""
    before, _, behind = typed.partition("|")
    found = complete_query(before + behind, len(before), NAMES)
    return [] if found is None else [word.text for word in found.suggestions]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("sel", "SELECT"),
        ("FROM ev", "events"),
        ("from st", "state_at('"),
        ("SELECT * FROM history JOIN doc", "documents"),
        ("SELECT stre| FROM events", "stream"),
        ("SELECT off| FROM events", '"offset"'),
        ('SELECT "off| FROM events', '"offset"'),
        ("SELECT e.corr| FROM events AS e", "correlation_id"),
        ("SELECT c.bef| FROM changes('orders', 'order-1') c", "before"),
        ("SELECT events.da| FROM events", "data"),
        ("SELECT count(*) FROM events gro", "GROUP BY"),
        ("SELECT arg_ma", "arg_max("),
        ("FROM failures WHERE projection = proj", "projection"),
        ("FROM state_at('", "orders'"),
        ("FROM state_at('orders@", "orders@3f2a'"),
        ("FROM changes( 'st", "stock'"),
        ("SELECT projection_number('or", "orders'"),
    ],
)
def test_the_likeliest_word_comes_first(typed: str, first: str) -> None:
    assert offered(typed)[0] == first


def test_after_from_every_table_is_offered() -> None:
    assert {"events", "history", "watches", "changes('"} <= set(offered("SELECT * FROM "))


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "SELECT ",
        "FROM events",  # already complete
        "WHERE type = 'Order",
        "FROM changes('orders', 'ord",
        "SELECT x.|",
        "SELECT zzz",
        "SELECT 'it''s sel",
    ],
)
def test_nothing_is_suggested_without_a_match(typed: str) -> None:
    assert offered(typed) == []


def test_suggestion_replaces_the_typed_word() -> None:
    text = "SELECT stre FROM events"
    found = complete_query(text, len("SELECT stre"), NAMES)
    assert found is not None
    assert text[: found.start] == "SELECT "
