"""A stranger's workspace: it is refused if it contains foreign objects, and it runs nothing."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.db.isolated_connection import connect_isolated
from storage.db.memory_budget import MemoryBudget
from storage.errors import RefoldError, WorkspaceError
from storage.log.event_log import EventLog
from storage.workspace import macros, schema, validation, validation_cache
from storage.workspace.macros import LATEST
from storage.workspace.workspace_file import WorkspaceFile


def other_latest(before: str, after: str) -> str:
    return LATEST.ddl.replace("CREATE", "CREATE OR REPLACE").replace(before, after, 1)


FOREIGN = {
    "a view": ["CREATE VIEW v AS SELECT 1"],
    "a view in a table's place": [
        "ALTER TABLE events RENAME TO kept",
        "CREATE VIEW events AS FROM kept",
    ],
    "a macro that shadows a function": ["CREATE MACRO count(x) AS 1"],
    "a macro that shadows an operator": ['CREATE MACRO "+"(a, b) AS 1'],
    "a macro that shadows the catalog": [
        "CREATE MACRO duckdb_views() AS TABLE SELECT 'x' AS view_name WHERE false"
    ],
    "a table macro": ["CREATE MACRO t() AS TABLE SELECT 1"],
    "a macro of ours with another body": [
        "CREATE OR REPLACE MACRO latest(projection, timeline := 'main') AS TABLE SELECT 1 AS key"
    ],
    "a macro of ours with another default": [other_latest("'main'", "'other'")],
    "a macro of ours with a further default": [other_latest("projection,", "projection := 'o',")],
    "a macro of ours with another parameter": [other_latest("(projection,", "(projection, x,")],
    "a macro of ours with a type": [other_latest("(projection,", "(projection VARCHAR,")],
    "an overload of a macro of ours": [
        other_latest("AS TABLE ", "AS TABLE (") + "), () AS TABLE (SELECT 1)"
    ],
    "a macro of ours for a value too": ["CREATE MACRO latest(projection) AS 1"],
    "a macro of ours for rows too": ["CREATE MACRO projection_number(p) AS TABLE SELECT 1"],
    "a macro of ours in another schema": [
        "CREATE SCHEMA s",
        LATEST.ddl.replace("latest", "s.latest"),
    ],
    "a missing macro": ["DROP MACRO TABLE changes"],
    "a macro under another name": [
        "DROP MACRO TABLE latest",
        LATEST.ddl.replace("latest", "newest"),
    ],
    "a table": ["CREATE TABLE more (i INTEGER)"],
    "a default": ["ALTER TABLE events ALTER type SET DEFAULT 'x'"],
    "a generated column": [
        "DROP TABLE rejects",
        "CREATE TABLE rejects (source INTEGER, line BIGINT, reason VARCHAR,"
        " text VARCHAR GENERATED ALWAYS AS (reason))",
    ],
    "a check": [
        "DROP TABLE rejects",
        "CREATE TABLE rejects (source INTEGER, line BIGINT, reason VARCHAR, text VARCHAR,"
        " CHECK (line > 0))",
    ],
    "a constraint": ["ALTER TABLE rejects ALTER line SET NOT NULL"],
    "a trigger": [
        "CREATE TRIGGER t AFTER INSERT ON events FOR EACH STATEMENT"
        " INSERT INTO rejects VALUES (1, 1, 'x', 'y')"
    ],
    "an index": ["CREATE INDEX i ON events (id)"],
    "a sequence": ["CREATE SEQUENCE s"],
    "a type": ["CREATE TYPE t AS ENUM ('a')"],
    "a schema": ["CREATE SCHEMA s", "CREATE TABLE s.events AS FROM main.events"],
    "a missing table": ["DROP TABLE routes"],
    "a missing column": ["ALTER TABLE events DROP meta"],
    "a column of another type": ["ALTER TABLE events ALTER revision TYPE VARCHAR"],
    "columns in another order": [
        "DROP TABLE rejects",
        "CREATE TABLE rejects (line BIGINT, source INTEGER, reason VARCHAR, text VARCHAR)",
    ],
}


@pytest.fixture(scope="module")
def original(shared_desk: Any) -> Any:
    """A workspace of two events that tests leave unchanged."""
    shared_desk.load(shared_desk.write(shared_desk.text(*map(shared_desk.event, (1, 2)))))
    return shared_desk


@pytest.fixture
def kept(desk: Any, original: Any) -> Path:
    """A copy of the original, not marked as the user's own."""
    path: Path = desk.target
    shutil.copy(original.target, path)
    return path


@pytest.fixture
def own(desk: Any) -> Path:
    """A workspace that refold created here, with its log."""
    desk.load(desk.write(desk.text(desk.event(1), desk.event(2))))
    path: Path = desk.target
    return path


def changed(path: Path, *statements: str) -> None:
    connection = duckdb.connect(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_object_is_refused(kept: Path, what: str) -> None:
    changed(kept, *FOREIGN[what])
    with pytest.raises(WorkspaceError, match="is refused as a workspace"):
        WorkspaceFile(kept)


def test_refusal_names_the_problem_of_a_macro(kept: Path) -> None:
    for what, message in (
        ("a macro of ours with another default", "has defaults"),
        ("a macro of ours with another body", "macro latest differs from refold's"),
        ("a missing macro", "macro changes is missing"),
        ("a macro that shadows a function", "contains the macro count"),
    ):
        copy = kept.with_name(f"{what}.refold")
        shutil.copy(kept, copy)
        changed(copy, *FOREIGN[what])
        with pytest.raises(WorkspaceError, match=message):
            WorkspaceFile(copy)


def test_workspace_opens_when_duckdb_prints_macros_differently(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spelled = [replace(m, body=m.body.replace("SELECT ", "select ")) for m in macros.MACROS]
    monkeypatch.setattr(macros, "MACROS", tuple(spelled))
    WorkspaceFile(kept)
    changed(kept, FOREIGN["a macro of ours with another default"][0])
    with pytest.raises(WorkspaceError, match="has defaults"):
        WorkspaceFile(kept)


@pytest.mark.parametrize("what", ["a trigger", "a macro that shadows a function"])
def test_foreign_object_is_refused_by_a_load(desk: Any, own: Path, what: str) -> None:
    changed(own, *FOREIGN[what])
    desk.grow(desk.folder / "log.jsonl", desk.text(desk.event(3)))
    with pytest.raises(WorkspaceError, match="is refused as a workspace"):
        desk.load(desk.folder / "log.jsonl")


def test_older_format_is_refused_with_what_to_do(kept: Path) -> None:
    changed(kept, "UPDATE workspace SET value = '1' WHERE name = 'format_version'")
    with pytest.raises(WorkspaceError, match=r"older refold .*`refold migrate"):
        WorkspaceFile(kept)


def test_newer_format_is_refused_with_what_to_do(kept: Path) -> None:
    newer = schema.FORMAT_VERSION + 1
    changed(kept, f"UPDATE workspace SET value = '{newer}' WHERE name = 'format_version'")
    with pytest.raises(WorkspaceError, match=r"newer refold .*update refold"):
        WorkspaceFile(kept)


@pytest.mark.parametrize("size", [0, 11, 5000, 200_000, -1])
def test_truncated_file_is_refused(kept: Path, size: int) -> None:
    os.truncate(kept, size if size >= 0 else kept.stat().st_size - 1)
    with pytest.raises(WorkspaceError, match=r"damaged or not a workspace"):
        WorkspaceFile(kept)


def test_flipped_bytes_are_reported_as_damage_or_do_no_harm(kept: Path) -> None:
    whole = kept.read_bytes()
    damaged = 0
    for part in range(1, 20):
        content = bytearray(whole)
        start = len(whole) * part // 20
        content[start : start + 64] = bytes(byte ^ 0xFF for byte in content[start : start + 64])
        kept.write_bytes(content)
        try:
            log = EventLog(WorkspaceFile(kept))
            assert [row.offset for row in log.read_events(0, 5)] == [0, 1]
            assert log.read_event(1).data == '{"n":2}'  # type: ignore[union-attr]
        except WorkspaceError as error:
            assert "damaged" in error.message  # noqa: PT017 - some of these do no harm
            damaged += 1
    assert damaged > 3


@pytest.mark.parametrize("content", [b"", b"hello" * 1000, b"SQLite format 3\0" + bytes(4096)])
def test_other_file_is_refused(desk: Any, content: bytes) -> None:
    desk.target.write_bytes(content)
    with pytest.raises(WorkspaceError):
        desk.open()


def test_missing_workspace(desk: Any) -> None:
    for path in (desk.target, desk.folder):
        with pytest.raises(WorkspaceError, match="There is no workspace"):
            WorkspaceFile(path)


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('/etc/hostname')",
        "FROM read_csv('/etc/passwd')",
        "FROM glob('/*')",
        "COPY events TO 'out.csv'",
        "EXPORT DATABASE 'out'",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "SET GLOBAL TimeZone = 'Asia/Tokyo'",
        "INSERT INTO rejects VALUES (1, 1, '', '')",
        "DROP TABLE events",
    ],
)
def test_query_cannot_reach_outside_the_file(desk: Any, kept: Path, query: str) -> None:
    with desk.open().reading() as connection, pytest.raises(duckdb.Error):
        connection.execute(query).fetchall()
    assert sorted(path.name for path in kept.parent.iterdir()) == ["kept.refold"]


def test_times_are_utc_whatever_the_machine_says(desk: Any, new_york: None) -> None:
    desk.load(desk.write(desk.text(desk.event(1))))
    assert desk.ask("SELECT CAST(time AS VARCHAR), current_setting('TimeZone') FROM events") == [
        ("2026-01-03 12:00:01+00", "UTC")
    ]
    assert EventLog(desk.open()).find_matching("time = '2026-01-03 12:00:01'")[0] == 0


def test_two_workspaces_of_one_process_read_one_file(desk: Any, kept: Path) -> None:
    first, second = desk.open(), desk.open()
    with first.reading() as one, second.reading() as other:
        assert one.execute("SELECT max(id) FROM events").fetchone() == ("e2",)
        assert other.execute("SELECT count(*) FROM events").fetchone() == (2,)


@pytest.mark.parametrize(
    "value",
    ["{", "null", "[]", '{"fields":{"type":3},"columns":[],"time_notation":"iso","whole_log":""}'],
)
def test_broken_mapping_is_refused_at_the_next_load(desk: Any, own: Path, value: str) -> None:
    changed(own, f"UPDATE workspace SET value = '{value}' WHERE name = 'mapping'")
    desk.grow(desk.folder / "log.jsonl", desk.text(desk.event(3)))
    with pytest.raises(RefoldError, match="--replace"):
        desk.load(desk.folder / "log.jsonl")
    with duckdb.connect(str(own), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)


def test_mapping_cannot_inject_sql(desk: Any, own: Path) -> None:
    evil = "%Y'') IS NULL OR error(''run'') OR (''x"
    changed(
        own,
        f"UPDATE workspace SET value = replace(value, '\"iso\"', '\"{evil}\"') WHERE name = 'mapping'",
    )
    desk.grow(desk.folder / "log.jsonl", desk.text(desk.event(3)))
    with pytest.raises(WorkspaceError, match="--replace"):
        desk.load(desk.folder / "log.jsonl")


def test_failed_writing_is_rolled_back(desk: Any, kept: Path) -> None:
    workspace = desk.open()
    with pytest.raises(ZeroDivisionError), workspace.writing() as connection:  # noqa: PT012 - the block ends with the error
        connection.execute("DELETE FROM events")
        raise ZeroDivisionError
    assert len(desk.column("id")) == 2


def test_read_only_connection_refuses_a_write(kept: Path) -> None:
    with (
        connect_isolated(kept, read_only=True, budget=MemoryBudget(100_000_000)) as connection,
        pytest.raises(duckdb.Error, match="read-only"),
    ):
        connection.execute("DELETE FROM events")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The files that were validated, in order."""
    seen: list[Path] = []

    def look(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        seen.append(path)
        assert validation.find_foreign_object(connection) is None

    monkeypatch.setattr(validation_cache, "_validate", look)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(validation_cache, "_by_path", {})
    return seen


def test_file_is_validated_once_until_another_program_changes_it(
    desk: Any, kept: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (kept, kept, kept.parent / "." / kept.name):
        WorkspaceFile(path).close()
    assert looks == [kept]
    monkeypatch.setattr(validation_cache, "_by_path", {})  # as another process
    workspace = WorkspaceFile(kept)
    with workspace.writing() as connection:
        connection.execute("DELETE FROM events")
    with pytest.raises(ZeroDivisionError), workspace.writing():
        raise ZeroDivisionError
    workspace.close()
    WorkspaceFile(kept).close()
    assert looks == [kept]
    changed(kept, "DELETE FROM sources")  # by a stranger
    WorkspaceFile(kept).close()
    copy = kept.with_name("copy.refold")
    shutil.copy2(kept, copy)
    WorkspaceFile(copy).close()
    copy.replace(kept)
    WorkspaceFile(kept).close()
    assert looks == [kept, kept, copy, kept]


def test_file_that_refold_wrote_is_not_validated_again(desk: Any, looks: list[Path]) -> None:
    desk.load(desk.write(desk.text(desk.event(1))))
    desk.load(desk.write(desk.text(desk.event(1), desk.event(2))))
    assert looks == []
    assert len(desk.column("id")) == 2


def test_damaged_or_missing_cache_only_costs_a_validation(
    kept: Path, looks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "refold").write_text("no folder")
    for _ in range(2):
        WorkspaceFile(kept).close()
    assert looks == [kept]
    for text in ("{", "[]", '{"x": 1}', json.dumps({str(kept): None}), "\xff"):
        monkeypatch.setattr(validation_cache, "_by_path", {})
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
        cache_path = tmp_path / "other" / "refold" / "looked-through.json"
        cache_path.parent.mkdir(parents=True, exist_ok=True)
        cache_path.write_text(text, encoding="latin-1")
        WorkspaceFile(kept).close()
    assert looks == [kept] * 6
