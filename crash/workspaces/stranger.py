"""Makes workspaces that a stranger might send: odd cells, foreign objects, paths, damaged bytes."""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from crash import sample
from crash.command import Home, run_function, run_refold

WORKSPACE = "w.refold"
FORK = "a"
FOREIGN_TYPE = "FromAForeignView"
_ODD: dict[str, tuple[str, ...]] = {
    "VARCHAR": (
        *("NULL", "''", "'\x1b]52;c;ZXZpbA==\x07'", "'\x1b[2J\x9b31m'", "repeat('x', 5000000)"),
        *(
            "'{'",
            "'[1,'",
            "'NaN'",
            "'null'",
            "'[]'",
            "'{}'",
            "'\"x\"'",
            "'{\"a\": NaN}'",
            "'1e999'",
        ),
        *("repeat('[', 100000)", "'{\"a\": ' || repeat('9', 5000) || '}'", "'main'", "'../../x'"),
        *("'\u202eabc'", "chr(0)", "'/dev/zero'", "'%s'", "'[null, 1, {}]'", "'[\"\x1b[31m\"]'"),
    ),
    "BIGINT": ("NULL", "-1", "9223372036854775807", "-9223372036854775808", "0", "1000000000000"),
    "INTEGER": ("NULL", "-1", "2147483647", "-2147483648", "0", "77"),
    "UINTEGER": ("NULL", "0", "4294967295"),
    "DOUBLE": ("NULL", "'NaN'", "'Infinity'", "'-Infinity'", "1e308", "-0.0"),
    "BOOLEAN": ("NULL", "true", "false"),
    "TIMESTAMP WITH TIME ZONE": (
        *("NULL", "'infinity'", "'-infinity'", "'294246-12-31'", "'290308-12-22 (BC)'"),
        *("'10000-01-01'", "'0001-01-01'", "'9999-12-31 23:59:59.999999+00'"),
    ),
    "BLOB": ("NULL", "'\\xFF\\xFE'::BLOB", "repeat('x', 1000000)::BLOB"),
    "BIGINT[]": ("NULL", "[]", "[NULL]", "[-1, 9223372036854775807]", "range(100000)"),
}
_OBJECTS = (
    *("CREATE VIEW v AS SELECT 1", "CREATE MACRO count(x) AS 1", "CREATE TABLE more (i INTEGER)"),
    "ALTER TABLE events RENAME TO kept; CREATE VIEW events AS FROM kept",
    "CREATE OR REPLACE MACRO latest(projection, timeline := 'main') AS TABLE SELECT 1 AS key",
    "CREATE MACRO duckdb_views() AS TABLE SELECT 'x' AS view_name WHERE false",
    "ALTER TABLE timelines RENAME TO t; CREATE VIEW timelines AS FROM read_text('{canary}')",
    "CREATE SCHEMA s; CREATE TABLE s.events AS FROM main.events",
    "CREATE SEQUENCE q",
    "CREATE TYPE t AS ENUM ('a')",
    "ALTER TABLE events ALTER type SET DEFAULT 'x'",
    "DROP TABLE routes",
    "ALTER TABLE events DROP meta",
    "ALTER TABLE events ALTER revision TYPE VARCHAR",
    "CREATE INDEX i ON events (id)",
    'CREATE MACRO "+"(a, b) AS 1',
)
_PROJECTION = """
INVARIANTS = {"few": lambda state: state["total"] < 3, "sum": "sum(state.total) < 1000"}
def initial(key):
    return {"total": 0, "many": {}}
def upcast(event):
    return event.replace(version="2") if event.type == "ItemAdded" else event
def apply(state, event, gateway):
    import datetime
    print("applied", event.id)
    state["total"] += 1
    state["rate"] = gateway.query("p", "o", {"n": 1})
    state["at"] = datetime.datetime.now().isoformat()
    if event.offset % 9 == 4:
        raise ValueError("no carrier")
    if event.stream == "order-11":
        state["many"][f"k{event.offset}"] = "x" * 20_000
"""
"""A projection whose folds leave rows in every table."""
_PATHS = (
    "{fifo}",
    "/dev/zero",
    "/dev/stdin",
    "{canary}",
    "relative.jsonl",
    "/proc/self/mem",
    "{link}",
    "{folder}",
)
_PATH_CELLS = (
    "UPDATE sources SET path = '{path}'",
    "UPDATE projections SET files = json_object('{path}', 'ab')",
    "UPDATE projections SET reference = '{path}'",
    "UPDATE projections SET python = '{path}'",
    "UPDATE projections SET reference = 'evil.py', files = json_object('{path}', 'ab'), python = '{python}'",
    'UPDATE workspace SET value = replace(value, \'"decoders":{{}}\', \'"decoders":{{"data":"avro:{path}"}}\')'
    " WHERE name = 'mapping' AND contains(value, '\"decoders\":{{}}')",
)
_LOOPS = (
    "UPDATE timelines SET parent = timeline",
    "UPDATE timelines SET parent = NULL",
    "UPDATE timelines SET parent = CASE timeline WHEN 'a' THEN 'b' ELSE 'a' END",
    "UPDATE timelines SET parent = 'nobody'",
    "UPDATE timelines SET timeline = 'main'",
    "INSERT INTO timelines FROM timelines",
    "INSERT INTO timelines SELECT 'f' || i, CASE i WHEN 0 THEN 'main' ELSE 'f' || (i - 1) END, 3, 0,"
    " NULL, now() FROM range(3000) t(i)",
    "UPDATE history SET previous = change",
    "UPDATE folds SET folded = 9000000000000000000, keys = 9000000000000000000",
    'UPDATE events SET "offset" = 0',
    'UPDATE events SET "offset" = "offset" * 1000000000000',
    'UPDATE edits SET after_offset = "offset", after_inserted = inserted',
    "UPDATE events SET causation_id = id, correlation_id = id",
    "UPDATE edits SET kind = 'unknown'",
)


@dataclass(frozen=True)
class Lures:
    """Files that a workspace names, and that refold must not read or run without consent."""

    folder: Path

    @property
    def canary(self) -> Path:
        """A file that a file watch watches."""
        return self.folder / "canary.txt"

    @property
    def ran(self) -> Path:
        """A file that hostile code opens when it runs."""
        return self.folder / "ran.txt"

    def write(self) -> None:
        """Write the files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.canary.write_text('{"type": "A"}\n')
        self.ran.write_text("x\n")
        fifo = self.folder / "fifo"
        if not fifo.exists():
            os.mkfifo(fifo)
        link = self.folder / "link"
        if not link.is_symlink():
            link.symlink_to(self.canary)
        (self.folder / "evil.py").write_text(evil_code(self.ran))
        python = self.folder / "evil-python"
        python.write_text(f'#!/bin/sh\ncat {self.ran} >/dev/null\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (self.folder / "evil.sh").write_text(
            f"cat {self.ran} >/dev/null\nwhile read line; do echo '{{\"response\": 1}}'; done\n"
        )

    def fill(self, text: str, draw: random.Random) -> str:
        """Return a statement with the names of the files inserted."""
        values = {
            "fifo": self.folder / "fifo",
            "canary": self.canary,
            "link": self.folder / "link",
            "folder": self.folder,
            "python": self.folder / "evil-python",
        }
        path = draw.choice(_PATHS).format(**values)
        return text.format(path=path, **values)


def evil_code(ran: Path) -> str:
    """Return code of a projection and decoder that leaves a trace if it runs."""
    return (
        f"open({str(ran)!r}).read()\n"
        "def unpack(payload):\n    return payload\n"
        "def apply(state, event):\n    state['n'] = 1\n"
    )


def make_original(home: Home) -> None:
    """Make a workspace with rows in nearly every table."""
    folder = home.folder
    sample.write_log(folder / "log.jsonl", 40)
    with (folder / "log.jsonl").open("a") as stream:
        stream.write("no event\n")
    (folder / "orders.py").write_text(_PROJECTION)
    journal = [
        {"event_id": f"e{n}", "port": "p", "operation": "o", "request": {"n": 1}, "response": n}
        for n in range(40)
    ]
    (folder / "calls.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in journal))
    for arguments in (
        ["load", "log.jsonl", "-o", WORKSPACE],
        ["calls-import", WORKSPACE, "calls.jsonl"],
        ["replay", WORKSPACE, "-p", "orders.py"],
        [
            "fork",
            WORKSPACE,
            FORK,
            "--drop",
            "5",
            "--set",
            "9",
            "email",
            '"x"',
            "--insert",
            '7={"type": "X", "stream": "order-1"}',
        ],
        ["fork", WORKSPACE, "b", "--from", FORK, "--drop", "20"],
        ["replay", WORKSPACE, "-p", "orders.py", "--timeline", FORK],
    ):
        outcome = run_refold(home, arguments, limit_seconds=60)
        if outcome.code != 0:
            raise RuntimeError(f"{arguments} fails: {outcome.stderr!r}")
    outcome = run_function(home, _add_marks)
    if outcome.code != 0:
        raise RuntimeError(f"The campaign can't fill its workspace: {outcome.stderr!r}")


def _add_marks() -> int:
    """Add what no command adds, and check that every table has rows: an update of none proves nothing."""
    from storage.marks import bookmarks, watches
    from storage.workspace import schema
    from storage.workspace.workspace_file import WorkspaceFile

    workspace = WorkspaceFile(Path(WORKSPACE))
    bookmarks.add_bookmark(workspace, offset=5, note="here", key="order-1", projection="orders")
    watches.add_watch(workspace, "states", "state.total > 3")
    workspace.close()
    with duckdb.connect(WORKSPACE) as connection:
        connection.execute("INSERT INTO bodies VALUES ('b', 'text/plain', 'x', NULL)")
        for table in schema.TABLES:
            if connection.execute(f"SELECT count(*) FROM {table.name}").fetchone() == (0,):
                print(f"The table {table.name} is empty.", file=sys.stderr)
                return 1
    return 0


@dataclass(frozen=True)
class Making:
    """The inputs for making one workspace of a kind."""

    path: Path
    draw: random.Random
    number: int
    """The number of the try; consecutive tries take consecutive entries of the lists above."""
    lures: Lures

    def pick(self, found: Sequence[str]) -> str:
        """Return the entry of a list for this try."""
        return found[self.number % len(found)]


def _odd_cells(making: Making) -> None:
    draw = making.draw
    with duckdb.connect(making.path) as connection:
        cells = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
        for _ in range(draw.choice((1, 3, 8))):
            table, column, kind = draw.choice(cells)
            value = draw.choice(_ODD.get(kind, ("NULL",))).replace("\x00", "")
            which = draw.choice(("", ' WHERE rowid = (SELECT min(rowid) FROM "{0}")')).format(table)
            _change(connection, f'UPDATE "{table}" SET "{column}" = {value}{which}')


def _foreign_objects(making: Making) -> None:
    _execute(making.path, making.lures.fill(making.pick(_OBJECTS), making.draw))


def _paths(making: Making) -> None:
    _execute(making.path, making.lures.fill(making.pick(_PATH_CELLS), making.draw))


def _loops(making: Making) -> None:
    _execute(making.path, making.pick(_LOOPS))


def _damaged(making: Making) -> None:
    draw, data = making.draw, bytearray(making.path.read_bytes())
    way = draw.random()
    if way < 0.3:
        del data[draw.randrange(len(data)) :]
    elif way < 0.4:
        data = bytearray(draw.randbytes(draw.choice((0, 11, 5000))))
    else:
        for _ in range(draw.choice((1, 5, 50))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    making.path.write_bytes(data)


def _links(making: Making) -> None:
    folder, path = making.lures.folder, making.path
    targets = (folder / "fifo", making.lures.canary, Path("/dev/zero"), path, folder)
    path.unlink()
    path.symlink_to(targets[making.number % len(targets)])


def _nothing(making: Making) -> None:
    """Leave the workspace unchanged; another replaces it while the screen is open."""
    del making


def swap_events(path: Path) -> int:
    """Replace the table `events` by a view that gives every event the type `FOREIGN_TYPE`."""
    with _open_when_free(path) as connection:
        connection.execute("ALTER TABLE events RENAME TO kept")
        connection.execute(
            f"CREATE VIEW events AS SELECT * REPLACE ('{FOREIGN_TYPE}' AS type) FROM kept UNION ALL"
            f' SELECT * REPLACE ("offset" + 40 AS "offset", \'{FOREIGN_TYPE}\' AS type) FROM kept'
        )
    return 0


def _open_when_free(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a workspace that a screen reads from time to time. Raises `duckdb.Error` after a second."""
    for _ in range(100):
        try:
            return duckdb.connect(path)
        except duckdb.IOException:
            time.sleep(0.01)
    return duckdb.connect(path)


def _execute(path: Path, statements: str) -> None:
    with duckdb.connect(path) as connection:
        for statement in statements.split("; "):
            _change(connection, statement)


def _change(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Run a statement; raise `RuntimeError` if it doesn't fit the schema or changes no row.

    Such a try would prove nothing.
    """
    try:
        result = connection.execute(statement).fetchone()
    except duckdb.Error as error:
        raise RuntimeError(
            f"The campaign's statement {statement[:200]!r} fails: {error}"
        ) from error
    if statement.startswith("UPDATE") and result == (0,):
        raise RuntimeError(f"The campaign's statement {statement[:200]!r} changes no row.")


MAKERS: dict[str, Callable[[Making], None]] = {
    "cells": _odd_cells,
    "objects": _foreign_objects,
    "paths": _paths,
    "loops": _loops,
    "damaged": _damaged,
    "links": _links,
    "swapped": _nothing,
}
SHARES = {
    "cells": 45,
    "objects": 10,
    "paths": 15,
    "loops": 12,
    "damaged": 10,
    "links": 4,
    "swapped": 4,
}
