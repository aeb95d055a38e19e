"""CSV and TSV, in whatever dialect DuckDB's sniffer finds.

Every cell is read as text. A column whose cells look like numbers gives numbers with their digits
as written; 007 is no number.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from storage.errors import SourceError, one_line
from storage.ingest.formats import Reading, Reject, columns
from storage.ingest.io import byte_streams, object_store
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import quoted

_BEGINNING = 1 << 20
_LINES_OF_A_ROW = 4
"""That a cell's text may have, so that a row is looked for that ends before the file's end."""
_NUMBERS = ("BIGINT", "DOUBLE", "INTEGER", "HUGEINT", "DECIMAL")


class Csv(columns.Columns):
    """Comma-, tab-, semicolon- or otherwise separated records."""

    name = "csv"
    whole = False

    def recognises(self, name: str, head: bytes) -> bool:
        plain = name.lower().removesuffix(".gz").removesuffix(".zst").removesuffix(".xz")
        if plain.endswith((".csv", ".tsv", ".tab", ".txt")):
            return True
        first = head.split(b"\n", 1)[0]
        return b"\0" not in head[:4096] and any(first.count(sep) for sep in (b",", b"\t", b";"))

    def sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - DuckDB reads it
        with _Dialect.of(path) as dialect:
            return columns.sample(
                dialect.connection, dialect.relation(dialect.path), dict.fromkeys(dialect.names, "")
            )

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        with _Dialect.of(reading.path) as dialect:
            if reading.start:
                rest = dialect.folder / "rest.csv"
                byte_streams.spool(reading.path, reading.start, rest)
                source, header = rest, False
            else:
                source, header = dialect.path, dialect.header
            if source.stat().st_size == 0:
                reading.taken, reading.lines = reading.start, reading.start_line
                reading.partial = reading.continues
                return
            relation = dialect.relation(source, header=header)
            first = 2 if header and dialect.header else 1
            try:
                for batch in columns.batches(
                    dialect.connection, relation, dialect.types, mapping, reading, first_line=first
                ):
                    reading.done = reading.lines
                    yield batch
            except duckdb.Error as error:
                raise SourceError(
                    f"{reading.path} can't be read as CSV ({one_line(error)})."
                ) from error
            size = source.stat().st_size
            rejects, torn = dialect.rejects(reading.start_line, size)
            reading.rejects.extend(rejects)
            # A row that the file ends in is read again when its writer is done.
            size = size if torn is None else torn
            reading.taken = reading.start + size
            breaks, reading.partial = _line_breaks(source, size)
            reading.lines = reading.start_line + breaks + reading.partial


class _Dialect:
    """A CSV file, decompressed where need be, and how it is written."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.connection = columns.connect()
        row = self._sniff()
        self.delimiter, self.quote, self.escape = row["Delimiter"], row["Quote"], row["Escape"]
        self.header = bool(row["HasHeader"])
        self.names = [column["name"] for column in row["Columns"]]
        self.types = {column["name"]: _kind(column["type"]) for column in row["Columns"]}

    @classmethod
    def of(cls, path: str) -> "_DialectContext":
        return _DialectContext(path)

    def _sniff(self) -> dict[str, Any]:
        try:
            found = self._sniffed(self.path)
        except duckdb.Error as error:
            raise SourceError(f"{self.path} can't be read as CSV ({one_line(error)}).") from error
        if _none(found["Quote"]):
            return found
        # A file that ends inside of quotes is taken for one that has none: its beginning tells more.
        for beginning in self._beginnings():
            with suppress(duckdb.Error):
                again = self._sniffed(beginning)
                if _none(again["Quote"]) and again["Delimiter"] == found["Delimiter"]:
                    return again
        return found

    def _sniffed(self, path: Path) -> dict[str, Any]:
        found = self.connection.sql("FROM sniff_csv(?, store_rejects = true)", params=[str(path)])
        return found.to_arrow_table().to_pylist()[0]  # type: ignore[no-any-return]

    def _beginnings(self) -> Iterator[Path]:
        """The first lines of the file, without the last one, then without the one before it, and so on."""
        with self.path.open("rb") as stream:
            text = stream.read(_BEGINNING)
        lines = text.splitlines(keepends=True) if b'"' in text else []
        path = self.folder / "beginning.csv"
        for end in range(len(lines) - 1, max(len(lines) - 1 - _LINES_OF_A_ROW, 1), -1):
            path.write_bytes(b"".join(lines[:end]))
            yield path

    def relation(self, path: Path, *, header: bool | None = None) -> str:
        """SQL for the records of a file in this dialect, all cells as text."""
        wanted = ", ".join(f"{quoted(n)}: 'VARCHAR'" for n in self.names)
        return (
            f"read_csv({quoted(str(path))}, delim = {quoted(self.delimiter)},"
            f" quote = {quoted(_none(self.quote))},"
            f" escape = {quoted(_none(self.escape))},"
            f" header = {str(self.header if header is None else header).lower()},"
            f" columns = {{{wanted}}}, auto_detect = false, store_rejects = true, rejects_limit = 0)"
        )

    def rejects(self, lines_before: int, size: int) -> tuple[list[Reject], int | None]:
        """The rows that can't be read of so many bytes, and where one begins that the bytes end in."""
        rows = self.connection.execute(
            "SELECT line, first(error_message ORDER BY error_message), first(csv_line),"
            " first(line_byte_position) - 1 FROM reject_errors GROUP BY line ORDER BY line"
        ).fetchall()
        rejects = [
            Reject(lines_before + line, one_line(Exception(message)), (text or "")[:1000])
            for line, message, text, _ in rows
        ]
        for line, message, text, start in rows[-1:]:
            if start + len((text or "").encode()) == size:
                said = f"the file ends inside this row ({one_line(Exception(message))})"
                rejects[-1] = Reject(lines_before + line, said, (text or "")[:1000])
                return rejects, start
        return rejects, None


class _DialectContext:
    def __init__(self, path: str) -> None:
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="refold-")

    def __enter__(self) -> _Dialect:
        folder = Path(self._folder.name)
        path = Path(self._path)
        with byte_streams.open_plain(self._path) as plain:
            packed = byte_streams.compression(plain.peek(6)[:6])
        if packed or object_store.is_object(self._path):
            path = folder / "plain.csv"
            byte_streams.spool(self._path, 0, path)
        self._dialect = _Dialect(path, folder)
        return self._dialect

    def __exit__(self, *_: object) -> None:
        self._dialect.connection.close()
        self._folder.cleanup()


def _line_breaks(path: Path, size: int) -> tuple[int, bool]:
    """How many there are in the first bytes of a file, and whether these end without one."""
    count, last, left = 0, b"\n", size
    with path.open("rb") as stream:
        while chunk := stream.read(min(left, _BEGINNING)):
            count, last, left = count + chunk.count(b"\n"), chunk[-1:], left - len(chunk)
    return count, last not in (b"\n", b"\r")


def _kind(sniffed: str) -> str:
    if sniffed.startswith(_NUMBERS):
        return columns.NUMBER
    return columns.TRUTH if sniffed == "BOOLEAN" else "VARCHAR"


def _none(mark: str) -> str:
    return "" if mark in ("(empty)", "\0") else mark
