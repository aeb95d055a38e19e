"""A query that a person typed: answered, refused with one sentence, bounded, and stopped."""

import threading
from typing import Any

import pytest

from storage.errors import CancelledError, QueryError
from storage.log.event_log import EventLog
from storage.query import sql_query
from storage.query.sql_query import QueryCancellation, fetch_result, run_query
from storage.workspace.workspace import Workspace

CHANGES = "would change the workspace, and a query can only read; start it with SELECT or FROM."
LEAVES = "accesses files outside the workspace, which a query can't; start it with SELECT or FROM."
READS_NOTHING = "doesn't read the workspace's tables; start it with SELECT or FROM."
OUTSIDE = "A query can read only the workspace, and"

REFUSED = {
    "INSERT INTO rejects VALUES (1, 1, '', '')": f"INSERT {CHANGES}",
    "-- to see\nUPDATE events SET type = 'x'": f"UPDATE {CHANGES}",
    "DELETE FROM events": f"DELETE {CHANGES}",
    "TRUNCATE events": f"TRUNCATE {CHANGES}",
    "DROP TABLE events": f"DROP {CHANGES}",
    "ALTER TABLE events DROP meta": f"ALTER {CHANGES}",
    "CREATE TEMP TABLE t AS SELECT 1": f"CREATE {CHANGES}",
    "CREATE OR REPLACE MACRO latest(p) AS 1": f"CREATE {CHANGES}",
    "MERGE INTO events USING (SELECT 1) ON true WHEN MATCHED THEN DELETE": f"MERGE {CHANGES}",
    "EXPLAIN ANALYZE DELETE FROM events": f"This {CHANGES}",
    "COPY events TO 'out.csv'": f"COPY {LEAVES}",
    "COPY rejects FROM 'in.csv'": f"COPY {LEAVES}",
    "EXPORT DATABASE 'out'": f"EXPORT {LEAVES}",
    "ATTACH 'other.db'": f"ATTACH {LEAVES}",
    "DETACH kept": f"DETACH {LEAVES}",
    "INSTALL httpfs": f"INSTALL {LEAVES}",
    "LOAD httpfs": f"LOAD {LEAVES}",
    "SET enable_external_access = true": f"SET {READS_NOTHING}",
    "RESET lock_configuration": f"RESET {READS_NOTHING}",
    "PRAGMA enable_profiling": f"PRAGMA {READS_NOTHING}",
    "CALL enable_logging()": f"CALL {READS_NOTHING}",
    "USE memory": f"USE {READS_NOTHING}",
    "BEGIN": f"BEGIN {READS_NOTHING}",
    "FROM read_csv('/etc/passwd')": f"{OUTSIDE} /etc/passwd isn't in it.",
    "FROM read_text('secret.csv')": f"{OUTSIDE} secret.csv isn't in it.",
    "FROM glob('/*')": f"{OUTSIDE} /* isn't in it.",
    "FROM 'secret.csv'": f"{OUTSIDE} secret.csv isn't in it.",
    "FROM 'https://example.com/x.parquet'": f"{OUTSIDE} https://example.com/x.parquet isn't in it.",
    "": "Give one statement; the query is empty.",
    "-- nothing": "Give one statement; the query is empty.",
    "SELECT 1; DROP TABLE events": "Give one statement; the query has 2.",
    "SELEKT 1": 'The query doesn\'t parse: syntax error at or near "SELEKT".',
    "SELECT\n1 +": 'The query doesn\'t parse: syntax error at or near "+" in line 2.',
    "FROM events WHERE offset = 3": 'so write the column as "offset".',
    "FROM nowhere": "The query failed: Table with name nowhere does not exist!",
    "SELECT nope FROM events": 'Referenced column "nope" not found',
    "SELECT type::INTEGER FROM events": "Could not convert",
    "SELECT error('so')": "The query failed: so.",
    "PIVOT events ON type USING count(*)": "PIVOT must list its values here",
    "FROM state_at('orders')": "Candidate macros: state_at(projection, position",
}


@pytest.fixture
def workspace(desk: Any) -> Workspace:
    desk.load(desk.write(desk.text(*map(desk.event, range(3)))))
    (desk.folder / "secret.csv").write_text("secret\nhunter2\n")
    workspace: Workspace = desk.open()
    return workspace


@pytest.mark.parametrize("query", REFUSED)
def test_invalid_query_is_refused_with_one_sentence(workspace: Workspace, query: str) -> None:
    before = workspace.path.read_bytes()
    with pytest.raises(QueryError) as refused:
        fetch_result(workspace, query, QueryCancellation())
    assert REFUSED[query] in refused.value.message
    assert "\n" not in refused.value.message
    workspace.release()
    assert workspace.path.read_bytes() == before
    assert len(list(workspace.path.parent.glob("*.db"))) == 0


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 WHERE false",
        "FROM events;",
        "WITH a AS (SELECT 1) FROM a",
        "VALUES (1)",
        "DESCRIBE events",
        "SHOW TABLES",
        "SUMMARIZE events",
        "EXPLAIN FROM events",
        "PIVOT events ON type IN ('A') USING count(*) GROUP BY stream",
        "SELECT NULL, '101'::BIT, [1], {'a': 1}, TIMESTAMP 'infinity', '\\xff'::BLOB, 1::HUGEINT",
    ],
)
def test_reading_statements_are_answered(workspace: Workspace, query: str) -> None:
    found = fetch_result(workspace, query, QueryCancellation())
    assert len(found.columns) == len(found.column_widths)
    rows = found.read_rows(0, 10)
    assert len(rows) == min(found.row_count, 10)
    assert all(isinstance(value, str | None) for row in rows for value in row)


def test_result_is_cut_at_max_rows(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_query, "MAX_ROWS", 500)
    found = fetch_result(workspace, "SELECT i FROM range(50000000000) t(i)", QueryCancellation())
    assert (found.row_count, found.is_truncated) == (500, True)
    assert found.read_rows(498, 10) == [("498",), ("499",)]
    assert not fetch_result(
        workspace, "SELECT i FROM range(500) t(i)", QueryCancellation()
    ).is_truncated


def test_result_is_cut_at_max_bytes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_query, "MAX_BYTES", 1_000_000)
    found = fetch_result(
        workspace, "SELECT repeat('x', 10000) FROM range(100000)", QueryCancellation()
    )
    assert found.is_truncated
    assert found.row_count < 1000
    assert found.column_widths == (10_000,)
    assert len(str(found.read_rows(0, 1)[0][0])) == sql_query.MAX_CELL_CHARACTERS
    assert len(str(found.read_row(0)[0])) == 10_000


def test_error_after_the_first_rows_is_raised(workspace: Workspace) -> None:
    late = "SELECT CASE WHEN i > 50000 THEN error('late') ELSE i END FROM range(90000) t(i)"
    with pytest.raises(QueryError, match=r"The query failed: late\."):
        fetch_result(workspace, late, QueryCancellation())
    with (
        pytest.raises(QueryError, match=r"The query failed: late\."),
        run_query(workspace, late) as query,
    ):
        list(query.read_batches())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM range(10000000000) a, range(10000) b",
        "SELECT i FROM range(10000000000000) t(i) WHERE i % 100000 = 0",
    ],
)
def test_query_is_cancelled_from_another_thread(
    workspace: Workspace, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_query, "MAX_ROWS", 10**12)
    stop = QueryCancellation()
    threading.Timer(0.2, stop.cancel).start()
    with pytest.raises(CancelledError):
        fetch_result(workspace, query, stop)
    assert fetch_result(workspace, "SELECT 1", QueryCancellation()).read_rows(0, 1) == [("1",)]


def test_query_cancelled_before_it_begins_does_not_run(workspace: Workspace) -> None:
    stop = QueryCancellation()
    stop.cancel()
    with pytest.raises(CancelledError):
        fetch_result(workspace, "SELECT 1", stop)


def test_result_holds_no_lock_on_the_workspace(workspace: Workspace) -> None:
    found = fetch_result(workspace, "FROM events", QueryCancellation())
    with workspace.writing() as connection:
        connection.execute("DELETE FROM events")
    assert len(found.read_rows(0, 10)) == 3


def at_minutes(desk: Any, minutes: list[int | None]) -> EventLog:
    times = [None if m is None else f"2026-01-01T{m // 60:02}:{m % 60:02}:00Z" for m in minutes]
    events = [{"stream": "s", "type": "T", "data": {}, "time": time} for time in times]
    desk.load(desk.write(desk.text(*events)))
    return EventLog(desk.open())


def test_density_one_time_out_of_order_moves_no_other_stretch(desk: Any) -> None:
    density = at_minutes(desk, [*range(600), 0]).read_density(10)
    assert density.is_by_time
    assert [abs(end - 60 * (n + 1)) < 3 for n, end in enumerate(density.last_offsets)] == [
        True
    ] * 10


def test_density_one_time_far_in_the_future_moves_no_later_stretch(desk: Any) -> None:
    density = at_minutes(desk, [0, 1, 599, *range(3, 600)]).read_density(10)
    assert [abs(end - 60 * (n + 1)) < 4 for n, end in enumerate(density.last_offsets)] == [
        True
    ] * 10


def test_density_counts_events_with_a_time_among_events_without(desk: Any) -> None:
    minutes = [m for minute in range(100) for m in (minute, None)]
    density = at_minutes(desk, minutes).read_density(10)
    assert list(density.last_offsets) == [2 * (10 * (n + 1) - 1) for n in range(9)] + [198]
    assert sum(density.counts) == 100
