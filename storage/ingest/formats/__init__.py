"""Formats: read the records of a file and turn them into the fields of events, as text.

A format yields batches of rows and gives the SQL from a row to the fields. The loader runs this SQL
in one insertion, so no row passes through Python. A row that the SQL can't read is marked as not
good; the loader then parses it alone, and repairs it or rejects it with a reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import unique_column_name

SAMPLE_RECORDS = 1000
"""Maximum number of records from which the mapping is detected."""

SAMPLE_BYTES = 8 << 20
"""Decompressed bytes at the beginning of a file from which the sample is taken."""

LINE_COLUMN = unique_column_name("line")
"""The column of a batch that holds the line or row number in the source, from 1."""

MAX_DEPTH = 500
"""Maximum nesting of arrays and objects in an event; Python's decoder stops at about twice that."""


MAX_REJECTS = 1_000_000
"""Maximum number of rejects of a file in one load; each is kept with its reason."""


@dataclass(frozen=True)
class Reject:
    """A line that is not an event."""

    line: int
    reason: str
    text: str


class NotAnEventError(Exception):
    """A line is not an event; the message says why."""


@dataclass
class ReadPass:
    """The progress and result of reading one file; updated while its batches are read."""

    path: str
    start_byte: int = 0
    """Decompressed bytes (for a whole file: rows) that earlier loads consumed."""
    start_line: int = 0
    """Lines that earlier loads consumed."""
    starts_inside_line: bool = False
    """Whether the part that earlier loads consumed ended without a line break."""
    consumed: int = 0
    """Decompressed bytes (for a whole file: rows) consumed in all; valid after the last batch."""
    line_count: int = 0
    """Lines consumed in all; valid after the last batch."""
    ends_without_line_break: bool = False
    """Whether the file ends without a line break: then its last line may still grow."""
    is_last_line_torn: bool = False
    """Whether that last line is not an event yet: then it isn't consumed, and the next load reads it."""
    read_bytes: int = 0
    """Bytes of the file read until now, for a progress bar."""
    source_position: dict[str, Any] = field(default_factory=dict)
    """For a source that isn't a file: its own position after the records read until now."""
    undecoded_count: int = 0
    """Number of payloads that a registry's schemas couldn't decode and that kept their stored form."""
    rejects: list[Reject] = field(default_factory=list)

    def add_reject(self, line: int, reason: str, text: str, size_bytes: int) -> None:
        """Add a reject for a line of `size_bytes` bytes.

        If the file ends inside this line, the line isn't consumed, because its writer may go on.
        Raises `SourceError` if the file has more than `MAX_REJECTS` rejects.
        """
        if self.ends_without_line_break and not self.is_last_line_torn and line == self.line_count:
            self.is_last_line_torn = True
            reason = f"the file ends inside this line ({reason})"
            self.consumed -= size_bytes
            self.line_count -= 1
        if len(self.rejects) >= MAX_REJECTS:
            raise SourceError(
                f"{self.path} has more than {MAX_REJECTS:,} lines that are not events"
                f" (line {line}: {reason}). If it is in another format, name it with --format."
            )
        self.rejects.append(Reject(line, reason, text))


@dataclass(frozen=True)
class FieldSql:
    """The SQL that turns a row of a batch into the fields of an event."""

    text_by_field: Mapping[str, str]
    """An SQL expression of type VARCHAR for each field that the source has."""
    time_sql: str | None = None
    """`time` as a TIMESTAMPTZ expression; None if the source has it as text only."""
    is_good_sql: str = "true"
    """A BOOLEAN expression: whether SQL could read the row."""
    raw_sql: str = "NULL"
    """The row as written in the file, for `Format.repair_row`."""
    stages: Sequence[str] = ()
    """Select lists computed in this order, once per row; later stages and the fields use their columns."""


class Format(Protocol):
    """A file format that holds records."""

    name: str
    is_whole_file: bool
    """Whether files are read as a whole (Parquet, Arrow, XES): rewritten, never appended to."""

    def recognises(self, name: str, head: bytes) -> bool:
        """Return whether a file with this name and these first decompressed bytes has this format."""
        ...

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:
        """Return up to `SAMPLE_RECORDS` records from the beginning of the file."""
        ...

    def read_batches(self, read_pass: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Yield batches in the order of the file, with a column `LINE_COLUMN` (int64)."""
        ...

    def compile_fields(self, mapping: FieldMapping, schema: pa.Schema) -> FieldSql:
        """Return the SQL from a row of a batch with this schema to the fields of an event."""
        ...

    def repair_row(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:
        """Return the fields, by name, of a row that SQL couldn't read.

        Return None for a blank row. Raises `NotAnEventError` if the row isn't an event.
        """
        ...
