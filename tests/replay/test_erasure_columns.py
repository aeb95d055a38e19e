"""An erasure covers every column that `storage.workspace.schema` declares as holding values."""

import contextlib
import json
from pathlib import Path

import pytest

from replay.erasure import ErasureRequest, erase
from storage.db.query import fetch_arrow
from storage.workspace import schema
from storage.workspace.schema import OnRemoval, TableSchema
from storage.workspace.schema.table import counted
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fork_bench import Bench
from tui.cli import run_command

SECRET = "ann.s3cret@example.org"
NUMBER = 90_210_777
"""The erased value in columns of numbers."""

SLOW = pytest.mark.slow
DECLARED = [
    (table, column, on_removal)
    for table in schema.TABLES
    for column, on_removal in table.values.items()
]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def planted(kind):
    """Return the erased value as a column of this type holds it."""
    if kind == "BLOB":
        return f"\x00<{SECRET}>".encode()
    if kind == "VARCHAR":
        return json.dumps({"inside": f"to {SECRET}."})
    return NUMBER


def plant(workspace, table, column):
    """Add a row with the erased value in one column to the table."""
    kind = dict(table.columns)[column]
    row = {column: planted(kind)}
    if table.name == "events":
        row["offset"] = 30
        row.setdefault("type", "T")
    if table.name == "edits":
        row |= {"timeline": "f", "kind": "drop", "offset": 3, "inserted": 0}
    if table.name == "workspace":
        row["name"] = "planted"
    if table.name == "bodies":
        row["body"] = "the-hash"
    names = ", ".join(f'"{name}"' for name in row)
    with workspace.writing() as connection:
        if table.name == "bodies":
            connection.execute("INSERT INTO calls (call, body) VALUES (900, 'the-hash')")
        connection.execute(
            f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(row))})",
            list(row.values()),
        )


def content(workspace):
    """Return every row of every table as text, and the bytes of the file."""
    with workspace.reading() as connection:
        rows = [str(fetch_arrow(connection, f"FROM {t.name}").to_pylist()) for t in schema.TABLES]
    workspace.release()
    return "".join(rows) + workspace.path.read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    ("table", "column", "on_removal"),
    [
        declared if declared[0].name in ("events", "calls") else pytest.param(*declared, marks=SLOW)
        for declared in DECLARED
    ],
    ids=[f"{table.name}.{column}" for table, column, _ in DECLARED],
)
def test_a_removed_value_leaves_each_column_or_is_counted(bench: Bench, table, column, on_removal):
    workspace = bench.workspace
    with workspace.writing() as connection:
        connection.execute(
            'UPDATE events SET data = ? WHERE "offset" = 3',
            [json.dumps({"by": 1, "email": SECRET, "number": NUMBER})],
        )
    bench.fork("f", lambda made: made.drop(10))
    plant(workspace, table, column)
    assert SECRET in content(workspace)
    removed = erase(workspace, ErasureRequest(value_paths=["data.email", "data.number"]))
    after = content(workspace)
    if on_removal is OnRemoval.COUNT:
        assert removed.remains == {table.name: 1}
        return
    assert removed.remains == {}
    assert SECRET not in after
    assert str(NUMBER) not in after


def test_no_export_repeats_a_removed_value(bench: Bench):
    workspace = bench.workspace
    with workspace.writing() as connection:
        connection.execute(
            'UPDATE events SET data = ?, meta = ? WHERE "offset" = 3',
            [json.dumps({"by": 1, "email": SECRET}), json.dumps({"mail": SECRET})],
        )
        for column in schema.CALLS.values:
            connection.execute(
                f'INSERT INTO calls (call, port, kind, outcome, fingerprint, "{column}")'
                " VALUES (7, 'http', 'query', 'ok', 'x', ?)",
                [json.dumps({"to": SECRET})],
            )
    bench.fork("f", lambda made: made.set(3, "by", "50"))
    erase(workspace, ErasureRequest(value_paths=["data.email", "meta.mail"]))
    workspace.release()
    ws, folder = str(workspace.path), bench.folder
    for command in (
        ["fork-export", ws, "f", str(folder / "fork.json")],
        ["export", ws, str(folder / "log.jsonl")],
        ["export", ws, str(folder / "fork.jsonl"), "--timeline", "f"],
        ["calls-export", ws, str(folder / "calls.jsonl")],
    ):
        with contextlib.suppress(SystemExit):
            run_command(command)
    written = [*folder.glob("*.json*")]
    assert len(written) >= 3
    for file in written:
        assert SECRET not in file.read_text(), file


def test_calls_that_name_a_removed_event_are_deleted(bench: Bench):
    """Imported calls have no offset; they name their event by its id or its correlation id."""
    with bench.workspace.writing() as connection:
        connection.execute("UPDATE events SET correlation_id = 'corr-' || (\"offset\" % 10)")
        connection.executemany(
            "INSERT INTO calls (call, event_id, correlation_id) VALUES (?, ?, ?)",
            [
                (1, "e3", None),  # e3 is removed
                (2, None, "e8"),
                (3, None, "corr-3"),  # only removed events have it
                (4, "e4", "corr-4"),  # this event stays
                (5, None, "other"),
            ],
        )
    bench.fork("f", lambda made: made.insert(3, json.dumps({"type": "T", "stream": "d"})))
    removed = erase(bench.workspace, ErasureRequest(streams=["d"]))
    with WorkspaceFile(bench.workspace.path).reading() as connection:
        left = connection.execute("SELECT call FROM calls ORDER BY call").fetchall()
    assert left == [(4,), (5,)]
    assert removed.calls == 3


def test_the_source_position_of_a_removed_event_is_removed(bench: Bench):
    with bench.workspace.writing() as connection:
        connection.execute("UPDATE events SET source_position = ? WHERE stream = 'd'", [SECRET])
    erase(bench.workspace, ErasureRequest(streams=["d"]))
    assert SECRET not in content(bench.workspace)


def test_a_column_without_a_declaration_is_refused():
    columns = (("name", "VARCHAR"), ("value", "VARCHAR"))
    with pytest.raises(ValueError, match="value"):
        TableSchema("t", columns, values=counted("name"), without_values=frozenset())
    with pytest.raises(ValueError, match="name"):
        TableSchema(
            "t", columns, values=counted("name", "value"), without_values=frozenset(("name",))
        )
    with pytest.raises(ValueError, match="gone"):
        TableSchema(
            "t", columns, values=counted("name", "value", "gone"), without_values=frozenset()
        )


def test_every_text_that_is_declared_without_values_is_known():
    """These are names, hashes and refold's own words. A new text column must be added here or
    declared with values."""
    texts = {
        f"{table.name}.{name}"
        for table in schema.TABLES
        for name, kind in table.columns
        if kind in ("VARCHAR", "BLOB") and name in table.without_values and name != "timeline"
    }
    assert texts == {
        *("workspace.name", "sources.format", "sources.head", "projections.hash"),
        *("folds.room", "folds.digest", "turns.invariant", "reads.read"),
        *("calls.projection", "calls.code", "calls.kind", "calls.port", "calls.fingerprint"),
        *("calls.outcome", "calls.body", "calls.origin", "bodies.body"),
        *("decisions.kind", "decisions.port", "decisions.decision"),
        *("edits.kind", "bookmarks.projection", "watches.over"),
    }


def test_only_counted_tables_are_written_before_the_events():
    """The values to search for are complete only after all events are rewritten."""
    names = [table.name for table in schema.TABLES]
    for table in schema.TABLES[: names.index("events")]:
        assert set(table.values.values()) == {OnRemoval.COUNT}, table.name
