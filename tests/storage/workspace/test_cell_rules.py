"""Strangers' workspaces with the right tables and wrong cells."""

import contextlib
import io
import json
import os
import resource
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gateway.calls import AnswerOutcome, CallKind, Decision
from storage.coordinates.edit_kind import EditKind
from storage.errors import WorkspaceError
from storage.workspace import cell_rules, cell_validation, schema, validation_cache
from storage.workspace.workspace_file import WorkspaceFile
from tests.support import hostile_workspaces
from tests.support.hostile_workspaces import Mutation
from tui import cli

HANG_SECONDS = 120
"""Seconds that no step nearly takes; a step that takes longer hangs."""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: Any) -> Path:
    """A workspace with rows in every table."""
    return hostile_workspaces.build(tmp_path_factory.mktemp("healthy"))


@pytest.fixture
def stranger(healthy: Path, tmp_path: Path) -> Path:
    """A copy of the healthy workspace, not marked as the user's own."""
    return Path(shutil.copy(healthy, tmp_path / "w.refold"))


def change(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(command: str, ws: Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    arguments = [word.format(ws=ws) for word in shlex.split(command)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), no_hang():
        code = cli.run_command(arguments)
    return code, out.getvalue(), err.getvalue()


def check(command: str, ws: Path, what: str) -> None:
    """Assert that a command ends with a result or one sentence, and prints no control characters."""
    code, out, err = run(command, ws)
    context = f"{what}: {command}: {err}"
    assert code in (0, 1, 2, 3), context
    assert "Unexpected error" not in err, context
    assert "Traceback" not in err, context
    assert "\x1b" not in out + err, context
    if "--json" in command and code < 2:
        for line in out.splitlines():
            json.loads(line)


def test_a_healthy_workspace_passes(stranger: Path) -> None:
    WorkspaceFile(stranger).close()
    for command in hostile_workspaces.COMMANDS:
        assert run(command, stranger)[0] in (0, 1), command


def test_odd_cells_are_refused_or_do_no_harm(healthy: Path, tmp_path: Path) -> None:
    odd = [m for table in schema.TABLES for m in hostile_workspaces.mutations(table)]
    # How many commands to run on every cell; without it, a selection that reaches every table. The
    # 2,000 cells take some 3 minutes of processor time to check, and 4 more for each command.
    commands_per_cell = int(os.environ.get("REFOLD_ALL_HOSTILE", "0"))
    odd = odd if commands_per_cell else odd[::7]
    harmless: list[Mutation] = []
    ws = Path(shutil.copy(healthy, tmp_path / "tried.refold"))
    with duckdb.connect(str(ws)) as connection:
        for mutation in odd:
            connection.execute("BEGIN")
            connection.execute(mutation.statement)
            if cell_validation.find_invalid(connection) is None:
                harmless.append(mutation)
            connection.execute("ROLLBACK")
    assert {m.table for m in odd} == {table.name for table in schema.TABLES}
    assert len(odd) - len(harmless) > len(odd) // 10
    commands = hostile_workspaces.COMMANDS
    for number, mutation in enumerate(harmless if commands_per_cell else harmless[::5]):
        ws = Path(shutil.copy(healthy, tmp_path / f"{number}.refold"))
        change(ws, mutation.statement)
        for turn in range(max(1, commands_per_cell)):
            # In turn, so that each command meets cells of every table.
            check(commands[(number + 7 * turn) % len(commands)], ws, mutation.name)
        ws.unlink()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    assert most < 2 << 30


REFUSED = {
    "time out of range": "UPDATE events SET time = TIMESTAMPTZ 'infinity' WHERE rowid = 3",
    "a hole in the offsets": 'UPDATE events SET "offset" = 99 WHERE rowid = 3',
    "an offset twice": 'UPDATE events SET "offset" = 4 WHERE rowid = 3',
    "data that is no JSON": "UPDATE events SET data = '{' WHERE rowid = 3",
    "a state that is no JSON": "UPDATE history SET state = 'x' WHERE rowid = 3",
    "a state of another key's bucket": "UPDATE history SET bucket = 1 WHERE rowid = 3",
    "a fold of no projection": "UPDATE folds SET projection = 77",
    "a fold twice": "INSERT INTO folds FROM folds",
    "a projection's number twice": "INSERT INTO projections FROM projections",
    "files that are no object": "UPDATE projections SET files = '[1]'",
    "a file whose hash is no text": "UPDATE projections SET files = '{\"a\": 1}'",
    "an unknown edit": "UPDATE edits SET kind = 'explode'",
    "a move from nowhere": "UPDATE edits SET moved_offset = NULL WHERE kind = 'move'",
    "a fork of itself": "UPDATE timelines SET parent = timeline",
    "forks of one another": "UPDATE timelines SET parent = CASE timeline WHEN 'f' THEN 'g' ELSE 'f' END",
    "a fork of nothing": "UPDATE timelines SET parent = NULL WHERE timeline = 'f'",
    "a fork of what isn't there": "UPDATE timelines SET parent = 'x' WHERE timeline = 'f'",
    "a name twice": "INSERT INTO timelines FROM timelines",
    "main as a fork": "UPDATE timelines SET timeline = 'main' WHERE timeline = 'g'",
    "a very long line of forks": "INSERT INTO timelines SELECT 't' || n, CASE n WHEN 0 THEN 'main' ELSE"
    " 't' || n - 1 END, 0, 0, '', now() FROM range(5000) AS r(n)",
    "very many forks": "INSERT INTO timelines SELECT 't' || n, 'main', 0, 0, '', now()"
    " FROM range(200000) AS r(n)",
    "headers that are no pairs": "UPDATE calls SET headers = '{}'",
    "a request nested deeply": "UPDATE calls SET request = repeat('[', 3000) || repeat(']', 3000)",
    "a fact nested deeply": "INSERT INTO workspace VALUES ('recordings', repeat('[', 9999))",
}


@pytest.mark.parametrize("what", REFUSED)
def test_value_that_refold_never_writes_is_refused_with_one_sentence(
    stranger: Path, what: str
) -> None:
    change(stranger, REFUSED[what])
    code, out, err = run("timelines {ws} --json", stranger)
    assert (code, out) == (2, "")
    assert "is refused as a workspace: " in err
    assert len(err.splitlines()) == 1


def test_rules_name_the_words_that_refold_writes() -> None:
    expected = {
        "edits.kind": EditKind,
        "calls.kind": CallKind,
        "calls.outcome": AnswerOutcome,
        "decisions.kind": CallKind,
        "decisions.decision": Decision,
    }
    for name, words in expected.items():
        table, _, column = name.partition(".")
        rule = next(r for r in cell_rules.rules_of(table) if f'"{column}" NOT IN' in r.broken)
        for word in words:
            assert f"'{word.value}'" in rule.broken


def test_rules_name_existing_tables_and_columns() -> None:
    with duckdb.connect() as connection:
        schema.create_schema(connection)
        for table in schema.TABLES:
            for rule in cell_rules.rules_of(table.name):
                connection.execute(f"SELECT count_if({rule.broken}) FROM {table.name}")
        assert cell_validation.find_invalid(connection) is None
    named = {
        (table, column)
        for table, columns in {**cell_rules.REQUIRED, **cell_rules.JSON}.items()
        for column in columns.split()
    }
    known = {(table.name, column) for table in schema.TABLES for column, _ in table.columns}
    assert named <= known


def test_view_that_replaces_events_in_an_open_workspace_is_refused(stranger: Path) -> None:
    workspace = WorkspaceFile(stranger)
    with workspace.reading() as connection:
        connection.execute("SELECT count(*) FROM events").fetchall()
    workspace.release()
    change(stranger, "ALTER TABLE events RENAME TO kept", "CREATE VIEW events AS FROM kept")
    with pytest.raises(WorkspaceError, match="contains the view events"), workspace.reading():
        pass
    with pytest.raises(WorkspaceError, match="contains the view events"), workspace.writing():
        pass


def test_file_that_replaces_an_open_workspace_is_validated(stranger: Path, tmp_path: Path) -> None:
    hostile = Path(shutil.copy(stranger, tmp_path / "hostile.refold"))
    change(hostile, "CREATE MACRO count(x) AS 1")
    workspace = WorkspaceFile(stranger)
    with workspace.reading():
        hostile.replace(stranger)
        with workspace.reading() as connection:  # the validated file is still open
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (12,)
    workspace.release()
    with pytest.raises(WorkspaceError, match="contains the macro count"), workspace.reading():
        pass
    assert not validation_cache.is_validated(stranger)


def test_write_by_refold_needs_no_second_validation(
    stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = WorkspaceFile(stranger), WorkspaceFile(stranger)
    monkeypatch.setattr(
        validation_cache, "_validate", lambda *_: pytest.fail("it was validated again")
    )
    for one, other in ((first, second), (second, first)):
        with one.writing() as connection:
            connection.execute("INSERT INTO watches VALUES (9, 'events', 'true', now())")
        with other.reading() as connection:
            connection.execute("SELECT count(*) FROM watches").fetchall()
        other.release()
