"""The formats CSV and TSV, in the dialect that DuckDB's sniffer detects.

Every cell is read as text. In a column whose cells look like numbers, a cell that is a JSON number
becomes a number with its digits as written. 007 is not a JSON number and stays text.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from storage.errors import SourceError, summarize_error
from storage.ingest.formats import ReadPass, Reject, columns
from storage.ingest.io import byte_streams, object_store
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import quote_literal

_BEGINNING_BYTES = 1 << 20
_MAX_ROW_LINES = 4
"""Maximum lines of a torn last row; without them the sniffer is tried again on the beginning."""
_NUMBER_TYPES = ("BIGINT", "DOUBLE", "INTEGER", "HUGEINT", "DECIMAL")


class Csv(columns.ColumnFormat):
    """Records with cells separated by commas, tabs, semicolons or another character."""

    name = "csv"
    is_whole_file = False

    def recognises(self, name: str, head: bytes) -> bool:
        plain = name.lower().removesuffix(".gz").removesuffix(".zst").removesuffix(".xz")
        if plain.endswith((".csv", ".tsv", ".tab", ".txt")):
            return True
        first = head.split(b"\n", 1)[0]
        return b"\0" not in head[:4096] and any(first.count(sep) for sep in (b",", b"\t", b";"))

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - DuckDB reads it
        with _Dialect.open_file(path) as dialect:
            return columns.read_sample_records(
                dialect.connection,
                dialect.relation_sql(dialect.path),
                dict.fromkeys(dialect.names, ""),
            )

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        with _Dialect.open_file(reading.path) as dialect:
            if reading.start_byte:
                rest = dialect.folder / "rest.csv"
                byte_streams.spool_to_file(reading.path, reading.start_byte, rest)
                source, header = rest, False
            else:
                source, header = dialect.path, dialect.has_header
            if source.stat().st_size == 0:
                reading.consumed, reading.line_count = reading.start_byte, reading.start_line
                reading.ends_without_line_break = reading.starts_inside_line
                return
            relation = dialect.relation_sql(source, has_header=header)
            first = 2 if header and dialect.has_header else 1
            try:
                for batch in columns.read_event_batches(
                    dialect.connection, relation, dialect.types, mapping, reading, first_line=first
                ):
                    reading.read_bytes = reading.line_count
                    yield batch
            except duckdb.Error as error:
                raise SourceError(
                    f"{reading.path} can't be read as CSV ({summarize_error(error)})."
                ) from error
            size = source.stat().st_size
            rejects, torn_row_start = dialect.read_rejects(reading.start_line, size)
            reading.rejects.extend(rejects)
            # Don't consume a row inside which the file ends: the next load reads it again.
            size = size if torn_row_start is None else torn_row_start
            reading.consumed = reading.start_byte + size
            breaks, reading.ends_without_line_break = _count_line_breaks(source, size)
            reading.line_count = reading.start_line + breaks + reading.ends_without_line_break


class _Dialect:
    """The dialect of a plain CSV file: separator, quotes, header, and names and kinds of columns."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.connection = columns.connect_reader()
        row = self._sniff()
        self.delimiter, self.quote, self.escape = row["Delimiter"], row["Quote"], row["Escape"]
        self.has_header = bool(row["HasHeader"])
        self.names = [column["name"] for column in row["Columns"]]
        self.types = {column["name"]: _column_kind(column["type"]) for column in row["Columns"]}

    @classmethod
    def open_file(cls, path: str) -> "_DialectContext":
        return _DialectContext(path)

    def _sniff(self) -> dict[str, Any]:
        try:
            dialect = self._sniff_file(self.path)
        except duckdb.Error as error:
            raise SourceError(
                f"{self.path} can't be read as CSV ({summarize_error(error)})."
            ) from error
        if _without_placeholder(dialect["Quote"]):
            return dialect
        # The sniffer finds no quotes in a file that ends inside quotes. Try its beginning instead.
        for beginning in self._write_beginnings():
            with suppress(duckdb.Error):
                retried = self._sniff_file(beginning)
                if (
                    _without_placeholder(retried["Quote"])
                    and retried["Delimiter"] == dialect["Delimiter"]
                ):
                    return retried
        return dialect

    def _sniff_file(self, path: Path) -> dict[str, Any]:
        sniffed = self.connection.sql("FROM sniff_csv(?, store_rejects = true)", params=[str(path)])
        return sniffed.to_arrow_table().to_pylist()[0]  # type: ignore[no-any-return]

    def _write_beginnings(self) -> Iterator[Path]:
        """Yield a file with the first lines, without the last line, then the last two, and so on."""
        with self.path.open("rb") as stream:
            text = stream.read(_BEGINNING_BYTES)
        lines = text.splitlines(keepends=True) if b'"' in text else []
        path = self.folder / "beginning.csv"
        for end in range(len(lines) - 1, max(len(lines) - 1 - _MAX_ROW_LINES, 1), -1):
            path.write_bytes(b"".join(lines[:end]))
            yield path

    def relation_sql(self, path: Path, *, has_header: bool | None = None) -> str:
        """Return SQL that reads the records of a file in this dialect, with all cells as text."""
        columns_sql = ", ".join(f"{quote_literal(n)}: 'VARCHAR'" for n in self.names)
        return (
            f"read_csv({quote_literal(str(path))}, delim = {quote_literal(self.delimiter)},"
            f" quote = {quote_literal(_without_placeholder(self.quote))},"
            f" escape = {quote_literal(_without_placeholder(self.escape))},"
            f" header = {str(self.has_header if has_header is None else has_header).lower()},"
            f" columns = {{{columns_sql}}}, auto_detect = false, store_rejects = true, rejects_limit = 0)"
        )

    def read_rejects(self, lines_before: int, size_bytes: int) -> tuple[list[Reject], int | None]:
        """Return the rows of the file that can't be read, and where a torn last row begins.

        `size_bytes` is the size of the file. The second value is the first byte of a row inside
        which the file ends, or None.
        """
        rows = self.connection.execute(
            "SELECT line, first(error_message ORDER BY error_message), first(csv_line),"
            " first(line_byte_position) - 1 FROM reject_errors GROUP BY line ORDER BY line"
        ).fetchall()
        rejects = [
            Reject(lines_before + line, summarize_error(Exception(message)), (text or "")[:1000])
            for line, message, text, _ in rows
        ]
        for line, message, text, start in rows[-1:]:
            if start + len((text or "").encode()) == size_bytes:
                reason = f"the file ends inside this row ({summarize_error(Exception(message))})"
                rejects[-1] = Reject(lines_before + line, reason, (text or "")[:1000])
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
            is_compressed = byte_streams.detect_compression(plain.peek(6)[:6])
        if is_compressed or object_store.is_object(self._path):
            path = folder / "plain.csv"
            byte_streams.spool_to_file(self._path, 0, path)
        self._dialect = _Dialect(path, folder)
        return self._dialect

    def __exit__(self, *_: object) -> None:
        self._dialect.connection.close()
        self._folder.cleanup()


def _count_line_breaks(path: Path, size_bytes: int) -> tuple[int, bool]:
    """Return the number of line breaks in the first bytes, and whether these end without one."""
    count, last, left_bytes = 0, b"\n", size_bytes
    with path.open("rb") as stream:
        while chunk := stream.read(min(left_bytes, _BEGINNING_BYTES)):
            count, last, left_bytes = (
                count + chunk.count(b"\n"),
                chunk[-1:],
                left_bytes - len(chunk),
            )
    return count, last not in (b"\n", b"\r")


def _column_kind(sniffed: str) -> str:
    if sniffed.startswith(_NUMBER_TYPES):
        return columns.NUMBER_TEXT
    return columns.BOOLEAN_TEXT if sniffed == "BOOLEAN" else "VARCHAR"


def _without_placeholder(mark: str) -> str:
    return "" if mark in ("(empty)", "\0") else mark
