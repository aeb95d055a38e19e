"""Workspaces as a stranger may send them: every table has rows, and one cell has an odd value."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from storage.workspace import schema
from tui import cli

PROJECTION = """
INVARIANTS = {"small": lambda state: state["n"] < 9, "sum": "sum(state.n) < 1000"}

def upcast(event):
    return event.replace(version="2") if event.version == "1" else event

def on_Added(state, event, gateway):
    import datetime
    if event.data["n"] == 7:
        raise ValueError("seven")
    print("added", event.data["n"])
    state["n"] = state.get("n", 0) + event.data["n"]
    state["rate"] = gateway.query("rates", "rate", {"n": event.data["n"]})
    state["at"] = datetime.datetime.now().isoformat()
    if event.stream == "s-0":
        state["many"] = {**state.get("many", {}), f"k{event.offset}": "x" * 20_000}
"""

ODD = {
    "VARCHAR": [
        "NULL",
        "''",
        "'{'",
        "'null'",
        "'[]'",
        "'5'",
        "'\"a\"'",
        "'{\"a\": 1}'",
        "'1e999'",
        "chr(27) || '[2J'",
        "repeat('[', 5000) || repeat(']', 5000)",
        "repeat('9', 5000)",
        "'main'",
    ],
    "BIGINT": [
        "NULL",
        "-1",
        "-7",
        "9223372036854775807",
        "(-9223372036854775807 - 1)",
        "4000000000",
    ],
    "INTEGER": ["NULL", "-1", "2147483647", "(-2147483647 - 1)"],
    "UINTEGER": ["NULL", "0", "4294967295"],
    "BOOLEAN": ["NULL"],
    "DOUBLE": ["NULL", "'nan'::DOUBLE", "'inf'::DOUBLE", "-1.0"],
    "TIMESTAMP WITH TIME ZONE": [
        "NULL",
        "'infinity'::TIMESTAMPTZ",
        "'-infinity'::TIMESTAMPTZ",
        "'0044-03-15 (BC) 00:00:00+00'::TIMESTAMPTZ",
        "'290000-01-01 00:00:00+00'::TIMESTAMPTZ",
    ],
    "BIGINT[]": ["NULL", "[]", "[NULL]", "[-1, 9223372036854775807]"],
    "BLOB": ["NULL", "''::BLOB", "'\\xFF\\x00'::BLOB"],
}


@dataclass(frozen=True)
class Mutation:
    """An odd value for one cell, or for a column in every row."""

    table: str
    column: str
    value: str
    every_row: bool = False

    @property
    def name(self) -> str:
        return (
            f"{self.table}.{self.column}={self.value[:30]}{' everywhere' if self.every_row else ''}"
        )

    @property
    def statement(self) -> str:
        rows = "" if self.every_row else f" WHERE rowid = (SELECT min(rowid) FROM {self.table})"
        return f'UPDATE {self.table} SET "{self.column}" = {self.value}{rows}'


def mutations(table: schema.TableSchema) -> Iterator[Mutation]:
    """Yield a mutation for every column of a table and every odd value of its type."""
    for column, kind in table.columns:
        for value in ODD[kind]:
            if (table.name, column) != ("workspace", "name"):
                yield Mutation(table.name, column, value)


def build(folder: Path) -> Path:
    """Create a workspace in which every table has rows; return its path."""
    log = folder / "log.jsonl"
    with log.open("w") as stream:
        for n in range(12):
            event = {
                "id": f"e{n}",
                "time": f"2026-01-01T00:{n:02d}:00Z",
                "stream": f"s-{n % 3}",
                "type": "Added",
                "version": "1",
                "data": {"n": n},
                "meta": {"by": "x"},
                "causation_id": f"e{n - 1}",
                "correlation_id": "c",
            }
            stream.write(json.dumps(event) + "\n")
        stream.write("no event\n")
    (folder / "p.py").write_text(PROJECTION)
    calls = folder / "calls.jsonl"
    with calls.open("w") as stream:
        for n in range(12):
            call = {"port": "rates", "operation": "rate", "request": {"n": n}, "response": n}
            stream.write(json.dumps({**call, "event_id": f"e{n}"}) + "\n")
    ws = str(folder / "log.refold")
    p = str(folder / "p.py")
    run("load", str(log), "-o", ws)
    run("calls-import", ws, str(calls))
    run("replay", ws, "-p", p)
    run(
        "fork",
        ws,
        "f",
        "--drop",
        "2",
        "--replace",
        '3={"type": "Added", "stream": "s-0", "data": {"n": 5}}',
        "--insert",
        '4={"type": "Added", "stream": "s-1", "data": {"n": 6}}',
        "--move",
        "5",
        "7",
    )
    run("replay", ws, "-p", p, "--timeline", "f")
    run("fork", ws, "g", "--from", "f", "--drop", "8")
    run("replay", ws, "-p", p, "--timeline", "g")
    connection = duckdb.connect(ws)
    connection.execute(
        "INSERT INTO bookmarks VALUES (1, 'main', 3, 0, 'p', 's-0', 'n', 'note', now())"
    )
    connection.execute("INSERT INTO watches VALUES (1, 'states', 'state.n > 3', now())")
    connection.execute("INSERT INTO upcasts VALUES (1, 'main', 1, 's-1', 'Added', '2', '{}')")
    connection.execute("INSERT INTO bodies VALUES ('b', 'text/plain', 'x', NULL)")
    empty = [
        table.name
        for table in schema.TABLES
        if connection.execute(f"SELECT count(*) FROM {table.name}").fetchone() == (0,)
    ]
    assert empty == [], "a table without rows can't be mutated"
    connection.close()
    return Path(ws)


def run(*arguments: str) -> None:
    code = cli.run_command(list(arguments))
    assert code in (0, 1), arguments


COMMANDS = (
    "events {ws} --json",
    "events {ws}",
    "state {ws} -p p --json",
    "state {ws} -p p --at 5 --key s-0",
    "diff {ws} -p p --from 2 --to 9 --json",
    "blame {ws} -p p --key s-1 n --all --json",
    "find {ws} -p p 'state.n > 3' --json",
    "find {ws} -p p 'sum(state.n) > 3' --timeline f --json",
    "check {ws} -p p --json",
    "values {ws} -p p state.n --key s-1 --json",
    "logpoint {ws} -p p --type Added data.n --json",
    "causes {ws} --at 3 --json",
    "failures {ws} -p p --json",
    "unhandled {ws} -p p --json",
    "printed {ws} -p p --json",
    "irregularities {ws} --json",
    "calls {ws} --json",
    "calls {ws} -p p --json",
    "calls {ws} -p p --reads --json",
    "calls {ws} -p p --timeline g --json",
    "timelines {ws} --json",
    "compare {ws} main f -p p --json",
    "events {ws} --timeline g --json",
    "state {ws} -p p --timeline f --json",
    "state {ws} -p p --timeline g --json",
    "sql {ws} 'FROM history' --json",
    "sql {ws} 'FROM events' --json",
)
"""Commands that read a workspace; none of them runs code."""
