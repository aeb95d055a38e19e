"""Tables as sources: chooses the table of a database, its joins, its order and where to continue.

The order is that of the event store's own numbers. A number may be committed after greater ones, so the
next read asks again for numbers that were missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from storage.errors import SourceError, summarize_error
from storage.ingest.envelopes import ENVELOPES
from storage.ingest.envelopes.envelope import Envelope, StoreLayout
from storage.ingest.formats import SAMPLE_RECORDS, Format, ReadPass, columns
from storage.ingest.io import fingerprints
from storage.ingest.io.fingerprints import Fingerprint
from storage.ingest.mapping import FieldMapping, Record
from storage.ingest.mapping.column_guess import normalize_name
from storage.ingest.mapping.expressions import iterate_leaves
from storage.ingest.sources import uris
from storage.ingest.sources.databases.database import (
    ColumnTypes,
    Database,
    column_reference,
    quote_table_name,
    split_table_name,
)
from storage.ingest.sources.row_format import RowFormat, number_rows
from storage.ingest.sources.uris import SourceUri
from storage.quoting import quote_identifier

URI_OPTIONS = ("table",)
"""Parameters of a link that are for refold."""
_MAX_GAPS = 1_000
"""Most missing numbers that the next read asks for again; the latest ones."""


@dataclass
class TableSource:
    """A table of a database, as a part of a source."""

    path: str
    database: Database
    name: str
    columns: ColumnTypes
    store_layout: StoreLayout | None
    joined_tables: Sequence[tuple[str, ColumnTypes]] = ()
    """Tables that are joined to it, by name with their columns."""
    size_bytes: int = 0
    _sample_records: Sequence[Record] = field(default_factory=list)

    @property
    def format(self) -> Format:
        return RowFormat(self.database.kind)

    def read_sample(self) -> Sequence[Record]:
        """Return the first rows in the table's own order; raises `SourceError` if the table is empty."""
        if not self._sample_records:
            query = f"SELECT {self._select_list()} {self._from_clause()} LIMIT {SAMPLE_RECORDS}"
            with self.database.read_query(query) as batches:
                self._sample_records = _read_records(batches, self._column_types())
            if not self._sample_records:
                raise SourceError(f"The table {self.name} of {self.path} is empty.")
        return self._sample_records

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        self._check_has_event_columns(mapping)
        order = self._order_columns(mapping)
        position = reading.source_position
        self._check_can_continue(order, position)
        order_sql = [self._order_expression(name) for name in order]
        after = self._after_clause(order_sql, position)
        query = (
            f"SELECT {self._select_list()} {self._from_clause()}{after} ORDER BY"
            f" {', '.join(order_sql) or '1'}"
        )
        with self.database.read_query(query) as rows:
            tracked = self._track_position(rows, order, reading)
            yield from number_rows(tracked, self._column_types(), reading, mapping)
        self.database.close()
        reading.consumed = reading.line_count

    def take_fingerprint(self, reading: ReadPass) -> Fingerprint:
        return fingerprints.make_position_fingerprint(
            self.path, reading.line_count, {**reading.source_position, "table": self.name}
        )

    # The query

    def _columns_by_name(self) -> dict[str, tuple[str, str, str]]:
        """Return alias, name and type of every column to read, by its name in the result.

        A column whose name differs from an earlier one in case only gets a number at the end.
        """
        column_entries = [("e", name, kind) for name, kind in self.columns.items()]
        aliases = dict(zip(_joined_aliases(self.store_layout), self.joined_tables, strict=False))
        for alias, name in (
            self.store_layout.joined_columns
            if self.store_layout is not None and self.joined_tables
            else ()
        ):
            column_entries.append((alias, name, aliases[alias][1][name]))
        column_by_name: dict[str, tuple[str, str, str]] = {}
        used_names: set[str] = set()
        for column in column_entries:
            name = next(
                one for one in _alternative_names(column[1]) if one.lower() not in used_names
            )
            used_names.add(name.lower())
            column_by_name[name] = column
        return column_by_name

    def _select_list(self) -> str:
        column_sqls = (
            (self.database.column_sql(*column)[0], name)
            for name, column in self._columns_by_name().items()
        )
        return ", ".join(f"{sql} AS {quote_identifier(name)}" for sql, name in column_sqls)

    def _column_types(self) -> dict[str, str]:
        return {
            name: self.database.column_sql(*column)[1]
            for name, column in self._columns_by_name().items()
        }

    def _from_clause(self) -> str:
        join = ""
        if self.store_layout is not None and self.joined_tables:
            join = " " + self.store_layout.join_sql.format(
                *(quote_table_name(name) for name, _ in self.joined_tables)
            )
        return f"FROM {quote_table_name(self.name)} AS e{join}"

    def _order_columns(self, mapping: FieldMapping) -> list[str]:
        """Return the columns that order the rows.

        The event store's own columns come first, then an integer mapped to the offset, the rowid, the time.
        """
        types = self._column_types()
        if self.store_layout is not None:
            folded = {normalize_name(name): name for name in types}
            known = [
                folded[normalize_name(name)]
                for name in self.store_layout.order_columns
                if normalize_name(name) in folded
            ]
            if known:
                # The names are alternatives, except that transaction_id orders together with the others.
                return known if known[0] == "transaction_id" else known[:1]
        numbers = [
            name for name in _columns_of_field(mapping, "offset") if types.get(name) == "BIGINT"
        ]
        row_numbers = [name for name in types if types[name] == columns.ROW_NUMBER]
        return (
            numbers or row_numbers or [n for n in _columns_of_field(mapping, "time") if n in types]
        )[:1]

    def _check_can_continue(self, order: list[str], position: Mapping[str, Any]) -> None:
        """Raise `SourceError` if the order doesn't tell which rows are new."""
        if not position:
            return
        if position.get("order") != order:
            raise SourceError(
                f"{self.path} was loaded in the order of {', '.join(position.get('order', ()))},"
                f" and the order is now {', '.join(order)}; load it again with --replace."
            )
        types = self._column_types()
        if not order or any(types[name] not in ("BIGINT", columns.ROW_NUMBER) for name in order):
            reason = (
                f"is ordered by {', '.join(order)} only"
                if order
                else "has no column that orders it"
            )
            raise SourceError(
                f"The table {self.name} {reason}, so refold can't tell which rows are new;"
                " load it again with --replace."
            )

    def _order_expression(self, name: str) -> str:
        alias, column, kind = self._columns_by_name()[name]
        sql, type_ = self.database.column_sql(alias, column, kind)
        return sql if type_ in ("BIGINT", columns.ROW_NUMBER) else column_reference(alias, column)

    def _after_clause(self, order_sql: Sequence[str], position: Mapping[str, Any]) -> str:
        if not position.get("after"):
            return ""
        literal = self.database.value_sql
        last = ", ".join(literal(value) for value in position["after"])
        condition = f"({', '.join(order_sql)}) > ({last})"
        if position.get("gaps"):
            condition += (
                f" OR {order_sql[0]} IN ({', '.join(literal(gap) for gap in position['gaps'])})"
            )
        return f" WHERE {condition}"

    # The rows

    def _track_position(
        self, batches: Iterator[pa.RecordBatch], order: list[str], reading: ReadPass
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches unchanged, and advance the pass's position to the rows that were read."""
        before = reading.source_position
        known_gaps = set(before.get("gaps", ()))
        gaps: list[int] = sorted(known_gaps)
        last = list(before.get("after", ()))
        may_fill_gaps = len(order) == 1 and self.database.may_fill_gaps(self.columns, order[0])
        reading.source_position = {"order": order, "after": last, "gaps": gaps}
        for batch in batches:
            if not batch.num_rows:
                continue
            if order:
                if may_fill_gaps:
                    numbers = batch[order[0]].cast(pa.int64()).drop_null().to_numpy()
                    gaps = sorted((set(gaps) | _find_gaps(numbers, last)) - set(numbers.tolist()))
                last_row = [_position_value(batch[name][batch.num_rows - 1]) for name in order]
                if None not in last_row:
                    last = last_row if not last or not may_fill_gaps or last_row > last else last
                reading.source_position = {"order": order, "after": last, "gaps": gaps[-_MAX_GAPS:]}
            yield batch

    def _check_has_event_columns(self, mapping: FieldMapping) -> None:
        if not any(mapping.has_field(name) for name in ("type", "data", "stream")):
            raise SourceError(
                f"No column of the table {self.name} is recognised as a field of an event:"
                f" {', '.join(self.columns)}. {_describe_nearest_formats({self.name: self.columns})}"
                " Map columns with --map FIELD=COLUMN."
            )


def open_table(name: str) -> TableSource:
    """Return the table that a link names, or else the only table of the database that is a log.

    Raises `SourceError` if there is no such table, or more than one.
    """
    uri = uris.parse_uri(name, URI_OPTIONS)
    database = _open_database(uri)
    tables = database.list_tables()
    table_name = uri.options.get("table")
    if table_name is not None:
        return _choose_table(uri, database, tables, table_name)
    logs = [
        (table, envelope) for table in tables for envelope in _matching_envelopes(tables[table])
    ]
    known = [
        (t, e)
        for t, e in logs
        if e.store_layout and split_table_name(t)[-1] == e.store_layout.table
    ]
    chosen = list(dict(reversed(known or logs)).items())
    if len(chosen) > 1:
        raise SourceError(
            f"{uri.public_uri} has several logs: {', '.join(sorted(t for t, _ in chosen))};"
            " choose one with ?table=NAME."
        )
    if not chosen:
        found = ", ".join(sorted(tables)[:20]) or "none"
        raise SourceError(
            f"{uri.public_uri} has no table in a format that refold knows; its tables: {found}."
            f" {_describe_nearest_formats(tables)} Choose a table with ?table=NAME."
        )
    return _make_source(uri, database, tables, *chosen[0])


def _open_database(uri: SourceUri) -> Database:
    if uri.kind == "postgresql":
        from storage.ingest.sources.databases.postgresql import PostgreSql  # noqa: PLC0415 - import only the driver in use

        return PostgreSql(uri)
    if not Path(uri.target).is_file():
        raise SourceError(f"There is no file {uri.target}.")
    from storage.ingest.sources.databases.bounded_database import IsolatedDatabase  # noqa: PLC0415 - only a database in a file runs in a process of its own

    if uri.kind == "sqlite":
        from storage.ingest.sources.databases.sqlite import Sqlite  # noqa: PLC0415 - import only the driver in use

        return IsolatedDatabase(Sqlite(uri), uri)
    from storage.ingest.sources.databases.duckdb_file import DuckDbFile  # noqa: PLC0415 - import only the driver in use

    return IsolatedDatabase(DuckDbFile(uri), uri)


def _choose_table(
    uri: SourceUri, database: Database, tables: Mapping[str, ColumnTypes], table_name: str
) -> TableSource:
    if table_name not in tables:
        split_names = ((name, split_table_name(name)) for name in tables)
        matching = [
            name for name, parts in split_names if table_name in (parts[-1], ".".join(parts))
        ]
        if len(matching) != 1:
            found = ", ".join(sorted(tables)[:20]) or "none"
            raise SourceError(f"{uri.public_uri} has no table {table_name}; its tables: {found}.")
        table_name = matching[0]
    envelopes = _matching_envelopes(tables[table_name])
    return _make_source(uri, database, tables, table_name, envelopes[0] if envelopes else None)


def _make_source(
    uri: SourceUri,
    database: Database,
    tables: Mapping[str, ColumnTypes],
    name: str,
    envelope: Envelope | None,
) -> TableSource:
    store_layout = envelope.store_layout if envelope is not None else None
    joined_tables = _find_joined_tables(tables, name, store_layout)
    return TableSource(uri.public_uri, database, name, tables[name], store_layout, joined_tables)


def _find_joined_tables(
    tables: Mapping[str, ColumnTypes], name: str, store_layout: StoreLayout | None
) -> Sequence[tuple[str, ColumnTypes]]:
    """Return the tables to join, from the same schema; none if one of them is missing."""
    if store_layout is None or not store_layout.joined_tables:
        return ()
    schema = name.rpartition(".")[0]
    names = [f"{schema}.{one}" if schema else one for one in store_layout.joined_tables]
    if not all(one in tables for one in names):
        return ()
    return [(one, tables[one]) for one in names]


def _joined_aliases(store_layout: StoreLayout | None) -> list[str]:
    """Return the aliases of the joined tables, in their order."""
    return (
        list(dict.fromkeys(alias for alias, _ in store_layout.joined_columns))
        if store_layout is not None
        else []
    )


def _matching_envelopes(columns: ColumnTypes) -> list[Envelope]:
    """Return the envelopes of event stores whose required columns a table has."""
    normalized = {normalize_name(name) for name in columns}
    return [
        envelope
        for envelope in ENVELOPES
        if envelope.store_layout is not None
        and {normalize_name(name) for name in envelope.required_members} <= normalized
    ]


def _describe_nearest_formats(tables: Mapping[str, ColumnTypes]) -> str:
    """Return a sentence about the two nearest formats and the columns that they lack; empty if none is near."""
    shares = []
    for name, column_types in tables.items():
        folded = {normalize_name(column) for column in column_types}
        for envelope in ENVELOPES:
            if envelope.store_layout is not None:
                lacks = [
                    one for one in envelope.required_members if normalize_name(one) not in folded
                ]
                share = 1 - len(lacks) / len(envelope.required_members)
                shares.append((-share, f"{name} as {envelope.name} lacks {', '.join(lacks)}"))
    sentences = [clause for share, clause in sorted(shares)[:2] if share < 0]
    return f"Nearest: {'; '.join(sentences)}." if sentences else ""


def _read_records(batches: Iterator[pa.RecordBatch], types: Mapping[str, str]) -> Sequence[Record]:
    connection = columns.connect_reader()
    found: list[Record] = []
    try:
        for batch in batches:
            connection.register("rows_read", pa.Table.from_batches([batch]))
            known = columns.read_column_types(connection, "rows_read")
            blobs = {n: "BLOB" for n, kind in types.items() if kind == known.get(n) == "BLOB"}
            found += columns.read_sample_records(connection, "rows_read", {**known, **blobs})
            if len(found) >= SAMPLE_RECORDS:
                break
    except duckdb.Error as error:
        raise SourceError(f"The table's rows can't be read ({summarize_error(error)}).") from error
    finally:
        connection.close()
    return found[:SAMPLE_RECORDS]


def _find_gaps(numbers: "np.ndarray[Any, Any]", last: Sequence[Any]) -> set[int]:
    """Return the latest skipped numbers, within a batch and between `last` and the batch."""
    if not len(numbers):
        return set()
    before = int(last[0]) if last else int(numbers[0]) - 1
    numbers = numbers[numbers > before]  # the others filled gaps
    steps = np.diff(numbers, prepend=before)
    missing: set[int] = set()
    for index in np.flatnonzero(steps > 1)[::-1]:
        end = int(numbers[index])
        start = max(end - int(steps[index]) + 1, end - _MAX_GAPS)
        missing.update(range(start, end))
        if len(missing) >= _MAX_GAPS:
            break
    return missing


def _position_value(scalar: pa.Scalar) -> Any:
    """Return a value for the stored position; None if Python can't represent it, such as a year before 1."""
    try:
        value = scalar.as_py()
    except (ValueError, OverflowError):
        return None
    return value if value is None or isinstance(value, (int, str)) else str(value)


def _alternative_names(name: str) -> Iterator[str]:
    """Yield a name, and then alternatives with a number at the end."""
    yield name
    yield from (f"{name}_{number}" for number in count(1))


def _columns_of_field(mapping: FieldMapping, field_name: str) -> list[str]:
    """Return the columns that an event's field is mapped to."""
    expression = mapping.expression_for(field_name)
    return [] if expression is None else [str(leaf.path[0]) for leaf in iterate_leaves(expression)]
