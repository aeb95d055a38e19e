"""SQL queries of the user: one statement that only reads, and its result.

The connection itself is read-only and can't read other files. This module refuses such statements
earlier, to give a clear message.
"""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from storage.db import duckdb_errors
from storage.errors import CancelledError, QueryError, RefoldError, summarize_error
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 100_000
MAX_BYTES = 64 << 20
"""The bounds of a `QueryResult`."""
MAX_CELL_CHARACTERS = 400
"""Characters of a value that `QueryResult.read_rows` returns."""

_BATCH_ROWS = 10_000
_TEXT_BATCH_ROWS = 128
"""Rows between two checks of the size of a result; few, because a value may be large."""
_NUMBER_TYPES = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)")
_READING_STATEMENTS = ("SELECT", "EXPLAIN")
_WRITING_STATEMENTS = (
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "MERGE_INTO",
    "VACUUM",
)
_EXTERNAL_STATEMENTS = ("COPY", "EXPORT", "ATTACH", "DETACH", "LOAD")
_START_HINT = "start it with SELECT or FROM"


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result."""

    name: str
    type: str
    """DuckDB's type."""

    @property
    def is_number(self) -> bool:
        return _NUMBER_TYPES.fullmatch(self.type) is not None


class QueryCancellation:
    """Cancels a query from another thread."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def cancel(self) -> None:
        """Cancel the query, now or as soon as it begins."""
        with self._lock:
            self.is_cancelled = True
            if self._connection is not None:
                self._connection.interrupt()

    def raise_if_cancelled(self) -> None:
        """Raise `CancelledError` if the query was cancelled."""
        if self.is_cancelled:
            raise CancelledError("The query was cancelled.")

    @contextmanager
    def interruptible(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Let `cancel` interrupt this connection inside the `with`."""
        with self._lock:
            self._connection = connection
        try:
            self.raise_if_cancelled()
            yield
        finally:
            with self._lock:
                self._connection = None


class RunningQuery:
    """A query that was parsed and planned; its rows are fetched while they are read."""

    def __init__(self, relation: duckdb.DuckDBPyRelation | None, *, is_explanation: bool) -> None:
        self._relation = relation
        self._is_explanation = is_explanation
        named = () if relation is None else zip(relation.columns, relation.types, strict=True)
        self.columns = tuple(ResultColumn(name, str(kind)) for name, kind in named)

    def read_batches(self) -> "Iterator[pa.RecordBatch]":
        """Yield the rows with values of their own types."""
        if self._relation is not None:
            yield from self._relation.to_arrow_reader(_BATCH_ROWS)

    def read_text_batches(self) -> "Iterator[pa.RecordBatch]":
        """Yield the rows with every value as DuckDB's text; for EXPLAIN, a row for each line of the plan."""
        if self._relation is None:
            return
        if self._is_explanation:
            self.columns = (ResultColumn("plan", "VARCHAR"),)
            written = r"unnest(string_split(rtrim(#2, E'\n'), E'\n')) AS c0"
        else:
            written = ", ".join(
                f"CAST(#{number} AS VARCHAR) AS c{number}"
                for number in range(1, len(self.columns) + 1)
            )
        yield from self._relation.project(written).to_arrow_reader(_TEXT_BATCH_ROWS)


@contextmanager
def run_query(
    workspace: Workspace, text: str, cancellation: QueryCancellation | None = None
) -> Iterator[RunningQuery]:
    """Run a query whose result is read inside the `with`.

    Raises `QueryError` if the text isn't one reading statement or can't be answered, and
    `CancelledError` if `cancellation` ended it.
    """
    cancellation = cancellation or QueryCancellation()
    with workspace.reading() as connection, cancellation.interruptible(connection):
        try:
            kind = _statement_kind(connection, text)
            yield RunningQuery(connection.sql(text), is_explanation=kind == "EXPLAIN")
        except duckdb.InterruptException as error:
            raise CancelledError("The query was cancelled.") from error
        except (duckdb.IOException, duckdb.SerializationException):
            raise  # the file is at fault, not the query
        except duckdb.Error as error:
            raise translate_query_error(error) from error
        except OSError as error:
            # Arrow raises OSError for an error of DuckDB after the first rows.
            cancellation.raise_if_cancelled()
            if isinstance(error, BrokenPipeError) or "Error: " not in str(error):
                raise
            raise translate_query_error(error) from error


def extract_statement(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Return the one statement of a text without its final semicolon, for use as a subquery.

    Raises `QueryError` if the statement returns no rows, and `duckdb.ParserException`.
    """
    if _statement_kind(connection, text) != "SELECT":
        raise QueryError(f"EXPLAIN returns no rows of the workspace's tables; {_START_HINT}.")
    written = text.encode()
    for byte_index, kind in reversed(duckdb.tokenize(text)):
        if kind != duckdb.token_type.comment:
            if written[byte_index : byte_index + 1] != b";":
                break
            written = written[:byte_index]
    return written.decode()


def _statement_kind(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        count = f"the query has {len(statements)}" if statements else "the query is empty"
        raise QueryError(f"Give one statement; {count}.")
    kind = str(statements[0].type.name)
    if kind in _READING_STATEMENTS:
        return kind
    word = re.match(r"\s*(\w+)", statements[0].query)
    shown = word[1].upper() if word else kind
    if kind in _WRITING_STATEMENTS:
        raise QueryError(
            f"{shown} would change the workspace, and a query can only read; {_START_HINT}."
        )
    if kind in _EXTERNAL_STATEMENTS:
        raise QueryError(
            f"{shown} accesses files outside the workspace, which a query can't; {_START_HINT}."
        )
    if kind == "MULTI":
        raise QueryError(
            "PIVOT must list its values here; write PIVOT … ON type IN ('OrderPlaced', …)."
        )
    raise QueryError(f"{shown} doesn't read the workspace's tables; {_START_HINT}.")


_BARE_OFFSET = re.compile(r"\nLINE \d+:.*(?<![\w.\"])offset\s*(?:,|\bFROM\b|[=<>])", re.IGNORECASE)
"""In a message about a query that doesn't parse: the column offset without its quotes."""


def translate_query_error(error: Exception) -> RefoldError:
    """Return DuckDB's error about a query as an error with a message for a person."""
    whole = str(error)
    message = " ".join(whole.partition("\n\n")[0].split())
    message = summarize_error(ValueError(re.sub(r"^[\w ]*Error: ", "", message))).rstrip(".!")
    if outside := re.match(r'Cannot access (?:file|directory) "(.*?)"', message):
        return QueryError(f"A query can read only the workspace, and {outside[1]} isn't in it.")
    if "read-only mode" in message:
        return QueryError(
            f"This would change the workspace, and a query can only read; {_START_HINT}."
        )
    if isinstance(error, duckdb.ParserException):
        line = re.search(r"\nLINE (\d+):", whole)
        where = f" in line {line[1]}" if line and line[1] != "1" else ""
        bare = '"offset"' in message.lower() or _BARE_OFFSET.search(whole)
        hint = '; offset is a reserved word, so write the column as "offset"' if bare else ""
        return QueryError(f"The query doesn't parse: {message}{where}{hint}.")
    if duckdb_errors.is_of_a_function(error):
        return QueryError(f"The query failed: {message.rpartition('Error: ')[2]}.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryError("The query needs more memory than it may use; make it narrower.")
    return QueryError(f"The query failed: {message}{'' if message.endswith('?') else '.'}")


@dataclass(frozen=True)
class QueryResult:
    """The first rows of a query as text, for display; at most `MAX_ROWS` rows or about `MAX_BYTES`."""

    columns: tuple[ResultColumn, ...]
    table: "pa.Table"
    is_truncated: bool
    """Whether the query has more rows than these."""
    column_widths: tuple[int, ...]
    """Characters of the longest value of each column."""
    seconds: float

    @property
    def row_count(self) -> int:
        return int(self.table.num_rows)

    def read_rows(self, first: int, count: int) -> Sequence[tuple[str | None, ...]]:
        """Return `count` rows from `first` on, each value cut to `MAX_CELL_CHARACTERS`."""
        import pyarrow.compute as pc  # noqa: PLC0415 - slow to import, and a screen opens without SQL

        part = self.table.slice(first, count)
        cells = [
            pc.utf8_slice_codeunits(column, 0, MAX_CELL_CHARACTERS).to_pylist()
            for column in part.columns
        ]
        return list(zip(*cells, strict=True))

    def read_row(self, number: int) -> tuple[str | None, ...]:
        """Return one row with its whole values."""
        return tuple(column[number].as_py() for column in self.table.columns)


def fetch_result(workspace: Workspace, text: str, cancellation: QueryCancellation) -> QueryResult:
    """Run a query and return its first rows; raises as `run_query` does."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and a screen opens without SQL
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to import, and a screen opens without SQL

    started = time.perf_counter()
    text_batches: list[pa.RecordBatch] = []
    rows = size = 0
    is_truncated = False
    with run_query(workspace, text, cancellation) as query:
        batches = query.read_text_batches()
        for batch in batches:
            cancellation.raise_if_cancelled()
            text_batches.append(batch)
            rows += batch.num_rows
            size += batch.get_total_buffer_size()
            if rows > MAX_ROWS or size > MAX_BYTES:
                is_truncated = rows > MAX_ROWS or next(batches, None) is not None
                break
        columns = query.columns
    schema = pa.schema([(f"c{number}", pa.string()) for number in range(len(columns))])
    table = pa.Table.from_batches(
        [b.rename_columns(schema.names) for b in text_batches], schema=schema
    )
    table = table.slice(0, MAX_ROWS)
    widest = tuple(pc.max(pc.utf8_length(column)).as_py() or 0 for column in table.columns)
    return QueryResult(columns, table, is_truncated, widest, time.perf_counter() - started)
