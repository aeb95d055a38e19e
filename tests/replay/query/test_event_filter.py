"""Event filters: by paths in the data, by SQL over the columns, or by text."""

import pytest

from replay.query.event_filter import find_offsets
from storage.errors import QueryError
from tests.support.projection_studio import Studio

EVENTS = [
    ("a", "Paid", {"amount": 100.1, "by": {"name": "ben"}}),
    ("b", "Paid", {"amount": 99, "tags": ["x", "y"]}),
    ("a", "Shipped", {"amount": "100"}),
    ("b", "Closed", {}),
]


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("data.amount > 99.5", [0]),
        ("data.amount = '100'", [2]),
        ("type = 'Paid' AND data.amount < 100", [1]),
        ("data.by.name LIKE 'b%' OR data.tags[1] = 'y'", [0, 1]),
        ("data.amount IS NULL", [3]),
        ("offset >= 2", [2, 3]),
        ("revision = 1", [2, 3]),
        ("data->>'$.by.name' = 'ben'", [0]),
        ("len(data) = 0", [3]),
        ("PAID", [0, 1]),
        ("ben", [0]),
    ],
)
def test_what_a_filter_keeps(studio: Studio, text, offsets):
    workspace = studio.events(*EVENTS)
    assert list(find_offsets(workspace, text)) == offsets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data.amount >", "doesn't parse"),
        ("colour = 3", "colour"),
        ("data.amount > (SELECT 1)", "contains a subquery"),
    ],
)
def test_invalid_filter_raises(studio: Studio, text, message):
    workspace = studio.events(*EVENTS)
    with pytest.raises(QueryError, match=message):
        find_offsets(workspace, text)
