"""A projection in SQL may use only the view `events` and functions that compute."""

import resource
import sys

import pytest

from replay.query_projections import engines
from replay.query_projections.engines import SqlRelation
from storage.errors import ProjectionError
from tests.support.fork_bench import Bench
from tui import cli

ESCAPES = [
    "SELECT 'k' AS key, json_execute_serialized_sql(json_serialize_sql('FROM history')) AS x FROM events",
    "SELECT key FROM json_execute_serialized_sql(json_serialize_sql('SELECT key FROM history'))",
    "SELECT key FROM query('SELECT key FROM history')",
    "SELECT key FROM query_table('history')",
    "SELECT key FROM query_table(['history'])",
    "SELECT table_name AS key FROM duckdb_tables()",
    "SELECT name AS key, value FROM duckdb_settings()",
    "SELECT table_name AS key FROM information_schema.tables",
    "SELECT name AS key FROM sqlite_master",
    "SELECT name AS key FROM main.history",
    "SELECT key FROM log.main.history",
    "SELECT key FROM (SELECT key FROM history)",
    "WITH history AS (FROM history) SELECT key FROM history",
    "SELECT 'k' AS key, (WITH history AS (SELECT 1 AS k) SELECT k FROM history) FROM history",
    "SELECT 'k' AS key, (SELECT count(*) FROM workspace) AS n",
    "SELECT content AS key FROM read_text('/etc/hostname')",
    "SELECT content AS key FROM read_blob('/etc/hostname')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'a.parquet'",
    "SELECT file AS key FROM glob('/*')",
    "SELECT 'k' AS key, getenv('HOME') AS home",
    "SELECT 'k' AS key, current_setting('home_directory') AS home",
    "SELECT 'k' AS key, getvariable('x') AS x",
    "SELECT 'k' AS key, current_query() AS q",
    "SELECT 'k' AS key, pg_sleep(1) AS q",
    "SELECT 'k' AS key, sleep_ms(1) AS q",
    "SELECT 'k' AS key, main.getenv('HOME') AS home",
    "SELECT 'k' AS key, list_transform(['HOME'], lambda x: getenv(x)) AS home",
    "SELECT 'k' AS key, max(getenv('HOME')) OVER () AS home FROM events",
    "SELECT 'k' AS key FROM events ORDER BY getenv('HOME')",
    "SELECT key FROM state_at('orders', 3)",
    "SELECT key FROM pragma_table_info('history')",
    "SELECT key FROM pragma_storage_info('history')",
    "SELECT key FROM seq_scan('history')",
    "SELECT column_name AS key FROM (DESCRIBE history)",
    "FROM (SHOW TABLES)",
    "FROM (SUMMARIZE history)",
    "ATTACH 'other.db'",
    "PRAGMA database_list",
    "SET memory_limit = '10GB'",
    "CALL duckdb_tables()",
    "COPY events TO 'x'",
    "INSTALL httpfs",
    "SELECT 1 AS key; SELECT 2",
]


@pytest.fixture(scope="module")
def folded_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench with a history, which no refused query changes."""
    bench = Bench(tmp_path_factory.mktemp("folded"))
    bench.history()
    return bench


@pytest.mark.parametrize("query", ESCAPES)
def test_a_query_that_reads_more_than_events_is_refused(folded_bench: Bench, query):
    folded_bench.code(query, "p.sql")
    with pytest.raises(ProjectionError):
        folded_bench.history(name="p.sql")


COMPUTING = [
    "SELECT stream AS key, count(*) AS n, sum(CAST(data->>'$.by' AS INT)) AS by FROM events GROUP BY ALL",
    "WITH t AS (SELECT stream AS key, * FROM main.events), u AS (FROM t)"
    " SELECT key, max(id) AS m FROM u GROUP BY key",
    "WITH RECURSIVE t(key, n) AS (SELECT 'k', 1 UNION ALL SELECT key, n + 1 FROM t WHERE n < 3)"
    " SELECT key, max(n) AS n FROM t GROUP BY key",
    "SELECT key, json_group_array(id) AS ids FROM (SELECT stream AS key, id,"
    ' row_number() OVER (PARTITION BY stream ORDER BY "offset") AS r FROM events) WHERE r < 3 GROUP BY key',
    "SELECT 'k' AS key, list(x) AS xs FROM (SELECT unnest([1, 2, 3]) AS x), range(2)",
    "SELECT stream AS key, list_transform(list(data), lambda d: d->>'$.by') AS x FROM events GROUP BY 1",
    "SELECT e.key, count(*) AS n FROM events, json_each(data) AS e GROUP BY e.key",
    "SELECT coalesce(stream, '') || '!' AS key, any_value(CASE WHEN type LIKE 'A%' THEN upper(type) END) AS t,"
    " min(time) + INTERVAL 1 DAY AS d, bool_or(id IN ('e1')) AS one FROM events GROUP BY 1",
    "SELECT 'k' AS key, date_trunc('hour', max(time)) AS t, {'a': [1, 2][1]} AS s,"
    " regexp_replace('abc', 'b', '') AS r, md5('x') AS m, printf('%d', 3) AS p FROM events",
    "PIVOT (SELECT stream AS key, type FROM events) ON type IN ('Added') USING count(*) GROUP BY key",
]


@pytest.mark.parametrize("query", COMPUTING)
def test_functions_that_only_compute_are_allowed(bench: Bench, query):
    bench.code(query, "p.sql")
    assert bench.history(name="p.sql").documents(0, 10)


def test_a_query_that_takes_too_long_is_stopped(bench: Bench):
    """DuckDB has the same time limit as a worker; this query would take hours."""
    reference = bench.code(
        "SELECT 'k' AS key, count(*) AS n FROM range(10000000) a, range(10000000) b"
        " WHERE a.range * b.range % 7 = 3",
        "slow.sql",
    )
    with bench.workspace.reading() as connection:
        relation = SqlRelation(reference, timeout_seconds=0.3)
        with pytest.raises(ProjectionError, match=r"slow did not answer within 0\.3 s"):
            relation.evaluate(connection)
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    assert engines.open_relation(reference, 3.0, None, lambda: None)._timeout_seconds == 60


_LARGE_QUERY = """SELECT stream AS key, len(list(e.id || repeat('x', 2000) || number)) AS n
FROM events AS e, range(3000) AS numbers(number) GROUP BY stream
"""
"""A query that holds 180 MB."""


@pytest.mark.parametrize(("memory", "code"), [("100MB", 3), ("2GB", 0)])
def test_memory_option_limits_a_query(bench: Bench, memory, code, capsys):
    bench.code(_LARGE_QUERY, "large.sql")
    bench.workspace.release()
    workspace, query = str(bench.workspace.path), str(bench.folder / "large.sql")
    span = ("--from", "29", "--to", "29")
    assert cli.run_command(["replay", workspace, "-p", query, *span, "--memory", memory]) == code
    message = capsys.readouterr().err
    assert ("memory" in message) == (code != 0)
    assert "Unexpected error" not in message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_text_larger_than_the_memory_of_a_query_is_refused(bench: Bench, capsys):
    bench.code("SELECT 'a' AS key, repeat('x', 3000000000) AS v FROM events", "large.sql")
    bench.workspace.release()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    arguments = ["replay", str(bench.workspace.path), "-p", str(bench.folder / "large.sql")]
    assert cli.run_command(arguments) == 3
    assert "needs more memory than it may use" in capsys.readouterr().err
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
