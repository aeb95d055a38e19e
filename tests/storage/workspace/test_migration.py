"""Workspaces of every older format are migrated to the current one, with everything that people made."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from storage.db.query import fetch_arrow
from storage.errors import CancelledError, WorkspaceError
from storage.ingest import loader
from storage.marks import bookmarks, watches
from storage.timelines import forked_workspace
from storage.workspace import migration, schema
from storage.workspace.migration import OlderWorkspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fork_bench import PROJECTION
from tui.cli import run_command

MADE = (
    "sources",
    "events",
    "rejects",
    "timelines",
    "edits",
    "calls",
    "bodies",
    "bookmarks",
    "watches",
)

_UNDONE = {
    10: [
        *(f"ALTER TABLE history DROP COLUMN {name}" for name in schema.NUMBER_COLUMNS),
        "ALTER TABLE folds DROP COLUMN numbers",
    ],
    9: ["ALTER TABLE printed DROP COLUMN key", "ALTER TABLE reads DROP COLUMN key"],
    8: [
        *(f"DROP TABLE {name}" for name in ("timelines", "edits", "forked", "touched")),
        "ALTER TABLE bookmarks DROP COLUMN inserted",
    ],
    7: [f"DROP TABLE {name}" for name in ("calls", "bodies", "decisions", "reads")],
    6: ["DROP TABLE parts"],
    2: ["DROP TABLE bookmarks", "DROP TABLE watches", "DROP MACRO TABLE changes"],
}
"""By format: statements that turn a workspace of it into one of the format before."""


def aged(path: Path, version: int) -> None:
    """Turn a workspace into one of an older format, or only set its version number."""
    with duckdb.connect(path) as connection:
        for newer in range(schema.FORMAT_VERSION, version, -1):
            for statement in _UNDONE.get(newer, ()):
                connection.execute(statement)
        connection.execute(
            "UPDATE workspace SET value = ? WHERE name = 'format_version'", [json.dumps(version)]
        )


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory):
    """A workspace with a fork, edits, recordings, bookmarks and watches, and its folder."""
    folder = tmp_path_factory.mktemp("lived-in")
    log, path = folder / "log.jsonl", folder / "log.refold"
    lines = [{"stream": f"s{n % 3}", "type": "Counted", "data": {"by": n}} for n in range(40)]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "torn\n")
    loader.load_source([str(log)], path, loader.LoadOptions())
    (folder / "counts.py").write_text(PROJECTION)
    assert (
        run_command(["fork", str(path), "try", "--at", "7", "--drop", "8", "--set", "9", "by", "5"])
        == 0
    )
    workspace = WorkspaceFile(path)
    bookmarks.add_bookmark(workspace, offset=5, note="here", key="s1")
    bookmarks.add_bookmark(forked_workspace.open_timeline(workspace, "try"), offset=6, note="there")
    watches.add_watch(workspace, "states", "count > 3")
    with workspace.writing() as connection:
        connection.execute(
            'INSERT INTO calls (call, timeline, "offset", key, ordinal, occurrence, kind, port, operation,'
            " fingerprint, request, outcome, attempts, latency, origin, body)"
            " VALUES (1, 'main', 4, 's1', 0, 0, 'query', 'p', 'o', 'f', '{}', 'ok', 1, 0.1, 'live', 'b')"
        )
        connection.execute("INSERT INTO bodies VALUES ('b', 'text/plain', 'said', NULL)")
    assert run_command(["replay", str(path), "-p", str(folder / "counts.py")]) == 0
    return path


@pytest.fixture
def kept(lived_in, tmp_path: Path):
    for file in (lived_in, lived_in.with_name("counts.py")):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / "log.refold"


def made(path: Path) -> dict[str, list[dict[str, object]]]:
    with WorkspaceFile(path).reading() as connection:
        return {name: fetch_arrow(connection, f"FROM {name}").to_pylist() for name in MADE}


@pytest.mark.parametrize(
    "version",
    [
        *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, schema.FORMAT_VERSION)),
        1,
    ],
)
def test_migration_keeps_what_people_made(kept, version, capfd):
    before = made(kept)
    aged(kept, version)
    with pytest.raises(WorkspaceError, match=f"older refold.*format {version}.*`refold migrate"):
        WorkspaceFile(kept)
    assert run_command(["migrate", str(kept), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["format"] == version
    assert told["events"] == 40
    after = made(kept)
    if version < 8:
        for bookmark in before["bookmarks"]:
            bookmark["inserted"] = 0
    gone = {
        *(("timelines", "edits") if version < 8 else ()),
        *(("calls", "bodies") if version < 7 else ()),
        *(("bookmarks", "watches") if version < 2 else ()),
    }
    assert after == {name: [] if name in gone else rows for name, rows in before.items()}


def test_migrated_workspace_can_be_folded_and_appended_to(kept, capfd):
    aged(kept, 6)
    assert run_command(["migrate", str(kept)]) == 0
    assert "(before: 6)" in capfd.readouterr().err
    projection = str(kept.with_name("counts.py"))
    assert run_command(["replay", str(kept), "-p", projection]) == 0
    assert "40 events" in capfd.readouterr().out
    log = kept.with_name("log.jsonl")
    shutil.copy(made(kept)["sources"][0]["path"], log)
    with log.open("a") as stream:
        stream.write('{"stream": "s1", "type": "Counted", "data": {"by": 1}}\n')
    with WorkspaceFile(kept).writing() as connection:
        connection.execute("UPDATE sources SET path = ?", [str(log)])
    assert loader.load_source([str(log)], kept, loader.LoadOptions()).events == 41


def test_workspace_of_the_current_format_is_unchanged(kept, capfd):
    before = kept.read_bytes()
    assert run_command(["migrate", str(kept)]) == 0
    assert "already" in capfd.readouterr().err
    assert kept.read_bytes() == before


def test_interrupted_migration_changes_nothing(kept):
    aged(kept, 9)
    before = kept.read_bytes()
    with pytest.raises(CancelledError):
        OlderWorkspace(kept).migrate(is_cancelled=lambda: True)
    assert kept.read_bytes() == before
    assert sorted(p.name for p in kept.parent.iterdir()) == ["counts.py", "log.refold"]


def test_progress_counts_rows(kept):
    aged(kept, 9)
    older, told = OlderWorkspace(kept), []
    older.migrate(on_progress=told.append)
    assert told == sorted(told)
    assert 40 < told[-1] <= older_rows(kept)


def older_rows(path: Path) -> int:
    """Return the number of rows in the tables that a migration copies, as a lower bound."""
    return sum(map(len, made(path).values())) + 100


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["CREATE VIEW v AS SELECT 1"], "contains the view v"),
        (["ALTER TABLE events ALTER type SET DEFAULT 'x'"], "has a default"),
        (
            ["ALTER TABLE events ADD COLUMN more INTEGER"],
            "the column events.more, which refold did not create",
        ),
        (
            ["ALTER TABLE edits ALTER step TYPE VARCHAR"],
            "the column edits.step, which refold did not create",
        ),
    ],
)
def test_older_workspace_with_foreign_objects_is_refused(kept, statements, message):
    aged(kept, 9)
    with duckdb.connect(kept) as connection:
        for statement in statements:
            connection.execute(statement)
    with pytest.raises(WorkspaceError, match=message):
        OlderWorkspace(kept)


def test_foreign_macros_are_neither_run_nor_copied(kept):
    before = made(kept)
    aged(kept, 9)
    with duckdb.connect(kept) as connection:
        for name in ("count", "stats"):
            connection.execute(f"CREATE MACRO {name}(x) AS error('run')")
        connection.execute("CREATE MACRO events() AS TABLE SELECT error('run') AS \"offset\"")
    assert OlderWorkspace(kept).migrate() == migration.MigrationResult(9, 40, 1, 2, 1, 2, 1)
    assert made(kept) == before


def test_newer_format_is_refused(kept):
    aged(kept, schema.FORMAT_VERSION + 1)
    with pytest.raises(WorkspaceError, match="newer refold"):
        OlderWorkspace(kept)


def test_unwritable_folder_is_reported_before_the_migration_starts(
    kept, monkeypatch: pytest.MonkeyPatch
):
    aged(kept, 9)
    older = OlderWorkspace(kept)
    monkeypatch.setattr("storage.workspace.file_rewrite.os.access", lambda *_: False)
    with pytest.raises(WorkspaceError, match="can't be written, and rewriting"):
        older.migrate()
