"""The macros of a workspace return the same as the history, for any DuckDB client."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from replay.history.history import History
from storage.workspace.macros import MACROS

COUNTING = """
    def initial(key): return {"n": 0}
    def on_Ticked(state, event): state["n"] += 1
    def on_Closed(state, event): return event.DELETED
"""


@pytest.fixture
def history(studio: Any) -> History:
    studio.file("p.py", COUNTING)
    kinds = ["Ticked", "Ticked", "Closed", "Ticked"]
    odd = 'it\'s\n"odd"; --'
    studio.events(*((stream, kind, {}) for kind in kinds for stream in ("a", odd, "17")))
    studio.events(("late", "Ticked", {}), ("a", "Ticked", {}))
    found: History = studio.history()
    return found


@pytest.fixture
def client(history: History) -> Iterator[duckdb.DuckDBPyConnection]:
    """A plain DuckDB client in another time zone."""
    history.workspace.release()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'; SET default_null_order = 'nulls_first'")
        connection.execute(f"ATTACH '{history.workspace.path}' AS w (READ_ONLY); USE w")
        yield connection


def test_documents_at_every_position(history: History, client: duckdb.DuckDBPyConnection) -> None:
    for position in range(-1, 15):
        expected = {
            (row["key"], row["offset"], row["state"])
            for batch in history.scan_documents_at(position)
            for row in batch.to_pylist()
        }
        found = client.execute("FROM state_at('p', ?)", [position]).fetchall()
        assert len(found) == len(set(found))
        assert set(found) == expected, position
        for key in ("a", "17", "late", "nobody"):
            one = client.execute("FROM document_at('p', ?, ?)", [key, position]).fetchall()
            assert one == [row for row in expected if row[0] == key], (key, position)
    assert set(client.execute("FROM latest('p')").fetchall()) == expected


def test_changes_of_a_document(history: History, client: duckdb.DuckDBPyConnection) -> None:
    asked = "SELECT \"offset\", type, before, after FROM changes('p', ?)"
    assert client.execute(asked, ["a"]).fetchall() == [
        (0, "Ticked", None, '{"n":1}'),
        (3, "Ticked", '{"n":1}', '{"n":2}'),
        (6, "Closed", '{"n":2}', None),
        (9, "Ticked", None, '{"n":1}'),
        (13, "Ticked", '{"n":1}', '{"n":2}'),
    ]
    odd = 'it\'s\n"odd"; --'
    assert [row[0] for row in client.execute(asked, [odd]).fetchall()] == [1, 4, 7, 10]
    # A key may be given as a number.
    assert [row[0] for row in client.execute(asked, [17]).fetchall()] == [2, 5, 8, 11]
    assert client.execute(asked, ["nobody"]).fetchall() == []


def test_name_means_the_current_code_and_can_select_older_code(
    studio: Any, history: History
) -> None:
    old = history.fold_record
    studio.file("p.py", COUNTING.replace("+= 1", "+= 10"))
    new = studio.fold()
    with studio.workspace.reading() as connection:

        def total(name: str) -> Any:
            query = "SELECT max(state->>'$.n') FROM document_at(?, 'late', 12)"
            return connection.execute(query, [name]).fetchall()[0][0]

        assert (total("p"), total(new.label), total(old.label)) == ("10", "10", "1")
        query = "SELECT projection_number('p'), projection_number(?)"
        assert connection.execute(query, [old.label]).fetchall() == [
            (new.projection_number, old.projection_number)
        ]


@pytest.mark.parametrize("name", ["q", "p@0000", "p' OR true --", ""])
def test_name_without_a_history_is_an_error(client: duckdb.DuckDBPyConnection, name: str) -> None:
    for call in ("latest(?)", "state_at(?, 3)", "document_at(?, 'a', 3)", "changes(?, 'a')"):
        with pytest.raises(duckdb.Error, match=r"There is no projection .* on the timeline main"):
            client.execute(f"FROM {call}", [name]).fetchall()
    with pytest.raises(duckdb.Error, match="on the timeline other"):
        client.execute("FROM latest('p', timeline := 'other')").fetchall()


def test_macros_return_their_declared_columns(client: duckdb.DuckDBPyConnection) -> None:
    for macro in MACROS:
        if macro.is_table:
            arguments = ["'p'", *("3" for _ in macro.parameters[1:])]
            found = client.sql(f"FROM {macro.name}({', '.join(arguments)})")
            assert tuple(found.columns) == macro.columns


def test_arguments_may_be_subqueries(client: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT count(*) FROM state_at('p', (SELECT max(\"offset\") - 1 FROM events))"
    assert client.execute(query).fetchall() == [(4,)]
