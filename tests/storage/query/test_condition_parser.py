"""Conditions on events: one expression; anything else is refused with a message."""

from typing import Any

import pytest

from storage.errors import QueryError
from storage.log.event_log import EventLog


@pytest.fixture(scope="module")
def log(shared_desk: Any) -> EventLog:
    shared_desk.load(
        shared_desk.write(shared_desk.text(*[shared_desk.event(number) for number in range(5)]))
    )
    return EventLog(shared_desk.open())


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("type = 'Placed'", [0, 1, 2, 3, 4]),
        ('"offset" > 2', [3, 4]),
        ("data->>'n' = '3'", [3]),
        ("stream = 'order-1' -- a comment", [1, 4]),
        ("(data->>'n')::INTEGER % 2 = 1 OR id = 'e0'", [0, 1, 3]),
        ("time >= '2026-01-03 12:00:03'", [3, 4]),
        ("(id = 'e1') OR (id = 'e2')", [1, 2]),
        ("list_contains([x FOR x IN ['e1', 'e4']], id)", [1, 4]),
    ],
)
def test_condition_holds(log: EventLog, condition: str, expected: list[int]) -> None:
    assert list(log.find_matching(condition)) == expected


@pytest.mark.parametrize(
    "condition",
    [
        *("", "--", "true) OR (true", "1=1) --", "true; DROP TABLE events", "true LIMIT 1", "= 1"),
        *("true UNION SELECT 1", "true GROUP BY 1", "true ORDER BY 1", "true) t(x), (SELECT 1"),
        *("EXISTS (SELECT 1)", '"offset" IN (SELECT 1)', "type = (VALUES ('T'))"),
        *("count(*) > 1", "row_number() OVER () > 1", "sum(1) OVER () = 1", "unnest([1]) = 1"),
        *("? = 1", "$1 = 1", "nothing = 1", "nextval('a') = 1", "read_text('/etc/passwd') = ''"),
        *("'abc'", "CAST(id AS INTEGER) > 1", "error('x')", "time > 'x'", "{'a': 1}"),
        *("regexp_matches(type, '(')", "type = 'T'\0", "(" * 5000 + "true" + ")" * 5000),
    ],
)
def test_invalid_condition_is_refused(log: EventLog, condition: str) -> None:
    with pytest.raises(QueryError, match="The condition"):
        log.find_matching(condition)
    assert log.read_extent().event_count == 5
