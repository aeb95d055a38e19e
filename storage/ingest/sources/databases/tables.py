"""A table that is a log: which one of a database, joined with what, in which order, and from where on.

The order is that of the event store's own numbers. Numbers may be committed later than greater ones,
so those that were missing when the table was read are asked for again the next time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from storage.errors import SourceError, one_line
from storage.ingest.envelopes import ENVELOPES
from storage.ingest.envelopes.envelope import Envelope, Stored
from storage.ingest.formats import SAMPLE, Format, Reading, columns
from storage.ingest.io import fingerprints
from storage.ingest.io.fingerprints import Fingerprint
from storage.ingest.mapping import FieldMapping, Record
from storage.ingest.mapping.column_guess import plain
from storage.ingest.mapping.expressions import leaves
from storage.ingest.sources import uris
from storage.ingest.sources.databases.database import (
    Columns,
    Database,
    parts_of,
    quote,
    quote_column,
)
from storage.ingest.sources.row_format import Rows, numbered
from storage.ingest.sources.uris import Link
from storage.quoting import identifier

OWN = ("table",)
"""Parameters of a link that are ours."""
_GAPS = 1_000
"""Missing numbers that are asked for again, the latest ones."""


@dataclass
class Table:
    """A table of a database; a piece of a source."""

    path: str
    database: Database
    name: str
    columns: Columns
    stored: Stored | None
    others: Sequence[tuple[str, Columns]] = ()
    """Tables that are joined to it."""
    size: int = 0
    _sample: Sequence[Record] = field(default_factory=list)

    @property
    def format(self) -> Format:
        return Rows(self.database.kind)

    def sample(self) -> Sequence[Record]:
        """The first rows, as they lie; raises `SourceError` where there is none."""
        if not self._sample:
            query = f"SELECT {self._select()} {self._from()} LIMIT {SAMPLE}"
            with self.database.read(query) as batches:
                self._sample = _records(batches, self._types())
            if not self._sample:
                raise SourceError(f"The table {self.name} of {self.path} is empty.")
        return self._sample

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        self._refuse_strangers(mapping)
        order = self._order(mapping)
        position = reading.position
        self._refuse_to_go_on(order, position)
        by = [self._expression(name) for name in order]
        after = self._after(by, position)
        query = f"SELECT {self._select()} {self._from()}{after} ORDER BY {', '.join(by) or '1'}"
        with self.database.read(query) as rows:
            noted = self._noting(rows, order, reading)
            yield from numbered(noted, self._types(), reading, mapping)
        self.database.close()
        reading.taken = reading.lines

    def taken(self, reading: Reading) -> Fingerprint:
        return fingerprints.at(self.path, reading.lines, {**reading.position, "table": self.name})

    # The query

    def _all(self) -> dict[str, tuple[str, str, str]]:
        """Alias, name and type of every column that is read, by what it is called here: as it is,
        but for what differs from another one in upper and lower case only."""
        found = [("e", name, kind) for name, kind in self.columns.items()]
        aliases = dict(zip(_aliases(self.stored), self.others, strict=False))
        for alias, name in self.stored.extra if self.stored is not None and self.others else ():
            found.append((alias, name, aliases[alias][1][name]))
        called: dict[str, tuple[str, str, str]] = {}
        taken: set[str] = set()
        for column in found:
            name = next(one for one in _alternatives(column[1]) if one.lower() not in taken)
            taken.add(name.lower())
            called[name] = column
        return called

    def _select(self) -> str:
        said = ((self.database.column(*column)[0], name) for name, column in self._all().items())
        return ", ".join(f"{sql} AS {identifier(name)}" for sql, name in said)

    def _types(self) -> dict[str, str]:
        return {name: self.database.column(*column)[1] for name, column in self._all().items()}

    def _from(self) -> str:
        join = ""
        if self.stored is not None and self.others:
            join = " " + self.stored.join.format(*(quote(name) for name, _ in self.others))
        return f"FROM {quote(self.name)} AS e{join}"

    def _order(self, mapping: FieldMapping) -> list[str]:
        """The columns that give the order: the store's own, whole numbers, places in the file, times."""
        types = self._types()
        if self.stored is not None:
            folded = {plain(name): name for name in types}
            known = [folded[plain(name)] for name in self.stored.order if plain(name) in folded]
            if known:
                # Alternatives, but for what orders together.
                return known if known[0] == "transaction_id" else known[:1]
        numbers = [name for name in _named_by(mapping, "offset") if types.get(name) == "BIGINT"]
        places = [name for name in types if types[name] == columns.PLACE]
        return (numbers or places or [n for n in _named_by(mapping, "time") if n in types])[:1]

    def _refuse_to_go_on(self, order: list[str], position: Mapping[str, Any]) -> None:
        """Raises `SourceError` where nobody can tell what is new."""
        if not position:
            return
        if position.get("order") != order:
            raise SourceError(
                f"{self.path} was loaded in the order of {', '.join(position.get('order', ()))},"
                f" and that is now {', '.join(order)}; --replace loads it anew."
            )
        types = self._types()
        if not order or any(types[name] not in ("BIGINT", columns.PLACE) for name in order):
            by = (
                f"is ordered by {', '.join(order)} only"
                if order
                else "has no column that orders it"
            )
            raise SourceError(
                f"The table {self.name} {by}, so that nobody can tell what is new in it;"
                " --replace loads it anew."
            )

    def _expression(self, name: str) -> str:
        alias, column, kind = self._all()[name]
        sql, type_ = self.database.column(alias, column, kind)
        return sql if type_ in ("BIGINT", columns.PLACE) else quote_column(alias, column)

    def _after(self, by: Sequence[str], position: Mapping[str, Any]) -> str:
        if not position.get("after"):
            return ""
        literal = self.database.literal
        last = ", ".join(literal(value) for value in position["after"])
        said = f"({', '.join(by)}) > ({last})"
        if position.get("gaps"):
            said += f" OR {by[0]} IN ({', '.join(literal(gap) for gap in position['gaps'])})"
        return f" WHERE {said}"

    # What comes of it

    def _noting(
        self, batches: Iterator[pa.RecordBatch], order: list[str], reading: Reading
    ) -> Iterator[pa.RecordBatch]:
        """The same batches; the position is advanced to what was drawn."""
        before = reading.position
        waited = set(before.get("gaps", ()))
        gaps: list[int] = sorted(waited)
        last = list(before.get("after", ()))
        counted = len(order) == 1 and self.database.numbered(self.columns, order[0])
        reading.position = {"order": order, "after": last, "gaps": gaps}
        for batch in batches:
            if not batch.num_rows:
                continue
            if order:
                if counted:
                    numbers = batch[order[0]].cast(pa.int64()).drop_null().to_numpy()
                    gaps = sorted((set(gaps) | _missing(numbers, last)) - set(numbers.tolist()))
                place = [_plain(batch[name][batch.num_rows - 1]) for name in order]
                if None not in place:
                    last = place if not last or not counted or place > last else last
                reading.position = {"order": order, "after": last, "gaps": gaps[-_GAPS:]}
            yield batch

    def _refuse_strangers(self, mapping: FieldMapping) -> None:
        if not any(mapping.has(name) for name in ("type", "data", "stream")):
            raise SourceError(
                f"The table {self.name} has no columns of an event: {', '.join(self.columns)}."
                f" {_nearest({self.name: self.columns})} Say which is which with --map."
            )


def look(name: str) -> Table:
    """The table that a link leads to, or the one of its database that is a log.

    Raises `SourceError` where there is none, or more than one.
    """
    link = uris.read(name, OWN)
    database = _database(link)
    tables = database.tables()
    wanted = link.wishes.get("table")
    if wanted is not None:
        return _named(link, database, tables, wanted)
    logs = [(table, envelope) for table in tables for envelope in _envelopes(tables[table])]
    known = [(t, e) for t, e in logs if e.stored and parts_of(t)[-1] == e.stored.table]
    chosen = list(dict(reversed(known or logs)).items())
    if len(chosen) > 1:
        raise SourceError(
            f"{link.public} has several logs: {', '.join(sorted(t for t, _ in chosen))};"
            " say which with ?table=NAME."
        )
    if not chosen:
        found = ", ".join(sorted(tables)[:20]) or "none"
        raise SourceError(
            f"{link.public} has no table in a format that refold knows; its tables: {found}."
            f" {_nearest(tables)} Name one with ?table=NAME."
        )
    return _table(link, database, tables, *chosen[0])


def _database(link: Link) -> Database:
    if link.kind == "postgresql":
        from storage.ingest.sources.databases.postgresql import PostgreSql  # noqa: PLC0415 - only what is asked for

        return PostgreSql(link)
    if not Path(link.place).is_file():
        raise SourceError(f"There is no file {link.place}.")
    from storage.ingest.sources.databases.bounded_database import ShutIn  # noqa: PLC0415 - as above

    if link.kind == "sqlite":
        from storage.ingest.sources.databases.sqlite import Sqlite  # noqa: PLC0415 - as above

        return ShutIn(Sqlite(link), link)
    from storage.ingest.sources.databases.duckdb_file import DuckDbFile  # noqa: PLC0415 - as above

    return ShutIn(DuckDbFile(link), link)


def _named(link: Link, database: Database, tables: Mapping[str, Columns], wanted: str) -> Table:
    if wanted not in tables:
        said = ((name, parts_of(name)) for name in tables)
        there = [name for name, parts in said if wanted in (parts[-1], ".".join(parts))]
        if len(there) != 1:
            found = ", ".join(sorted(tables)[:20]) or "none"
            raise SourceError(f"{link.public}: there is no table {wanted}; its tables: {found}.")
        wanted = there[0]
    envelopes = _envelopes(tables[wanted])
    return _table(link, database, tables, wanted, envelopes[0] if envelopes else None)


def _table(
    link: Link,
    database: Database,
    tables: Mapping[str, Columns],
    name: str,
    envelope: Envelope | None,
) -> Table:
    stored = envelope.stored if envelope is not None else None
    others = _beside(tables, name, stored)
    return Table(link.public, database, name, tables[name], stored, others)


def _beside(
    tables: Mapping[str, Columns], name: str, stored: Stored | None
) -> Sequence[tuple[str, Columns]]:
    """The tables to be joined, of the same schema; none where one of them is missing."""
    if stored is None or not stored.beside:
        return ()
    schema = name.rpartition(".")[0]
    wanted = [f"{schema}.{one}" if schema else one for one in stored.beside]
    if not all(one in tables for one in wanted):
        return ()
    return [(one, tables[one]) for one in wanted]


def _aliases(stored: Stored | None) -> list[str]:
    """The aliases of the joined tables, in their order."""
    return list(dict.fromkeys(alias for alias, _ in stored.extra)) if stored is not None else []


def _envelopes(columns: Columns) -> list[Envelope]:
    """The formats whose names a table has."""
    folded = {plain(name) for name in columns}
    return [
        envelope
        for envelope in ENVELOPES
        if envelope.stored is not None and {plain(name) for name in envelope.requires} <= folded
    ]


def _nearest(tables: Mapping[str, Columns]) -> str:
    """The formats that come nearest, as a sentence."""
    shares = []
    for name, there in tables.items():
        folded = {plain(column) for column in there}
        for envelope in ENVELOPES:
            if envelope.stored is not None:
                lacks = [one for one in envelope.requires if plain(one) not in folded]
                share = 1 - len(lacks) / len(envelope.requires)
                shares.append((-share, f"{name} as {envelope.name} lacks {', '.join(lacks)}"))
    near = [said for share, said in sorted(shares)[:2] if share < 0]
    return f"Nearest: {'; '.join(near)}." if near else ""


def _records(batches: Iterator[pa.RecordBatch], types: Mapping[str, str]) -> Sequence[Record]:
    connection = columns.connect()
    found: list[Record] = []
    try:
        for batch in batches:
            connection.register("rows_read", pa.Table.from_batches([batch]))
            known = columns.types_of(connection, "rows_read")
            blobs = {n: "BLOB" for n, kind in types.items() if kind == known.get(n) == "BLOB"}
            found += columns.sample(connection, "rows_read", {**known, **blobs})
            if len(found) >= SAMPLE:
                break
    except duckdb.Error as error:
        raise SourceError(f"The table's rows can't be read ({one_line(error)}).") from error
    finally:
        connection.close()
    return found[:SAMPLE]


def _missing(numbers: "np.ndarray[Any, Any]", last: Sequence[Any]) -> set[int]:
    """The latest of the numbers that are skipped, within a batch and since the one before."""
    if not len(numbers):
        return set()
    before = int(last[0]) if last else int(numbers[0]) - 1
    numbers = numbers[numbers > before]  # the others filled gaps
    steps = np.diff(numbers, prepend=before)
    missing: set[int] = set()
    for at in np.flatnonzero(steps > 1)[::-1]:
        end = int(numbers[at])
        start = max(end - int(steps[at]) + 1, end - _GAPS)
        missing.update(range(start, end))
        if len(missing) >= _GAPS:
            break
    return missing


def _plain(found: pa.Scalar) -> Any:
    """A value as it is kept of a position; None where Python has none for it, as before the year 1."""
    try:
        value = found.as_py()
    except (ValueError, OverflowError):
        return None
    return value if value is None or isinstance(value, (int, str)) else str(value)


def _alternatives(name: str) -> Iterator[str]:
    """A name, and others for what can't have it."""
    yield name
    yield from (f"{name}_{number}" for number in count(1))


def _named_by(mapping: FieldMapping, field_name: str) -> list[str]:
    """The columns that a field is read from."""
    expression = mapping.expression(field_name)
    return [] if expression is None else [str(leaf.path[0]) for leaf in leaves(expression)]
