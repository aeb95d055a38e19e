"""Formats: how the records of a file become an event's fields, as text.

A format draws batches from the file and gives the SQL from a batch's row to the fields; the loader
runs it inside one insertion, so that no row passes through Python. A row that the SQL can't read
is marked as not good and gets a second look, one by one, which repairs it or says what is wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.mapping import FieldMapping, Record
from storage.quoting import unique_column_name

SAMPLE_RECORDS = 1000
"""Records that are looked at to find the mapping."""

SAMPLE_BYTES = 8 << 20
"""Decompressed bytes of a file's head in which they are looked for."""

LINE_COLUMN = unique_column_name("line")
"""The column of a batch that says which line or row of its source each is, from 1 on."""

MAX_DEPTH = 500
"""Nested arrays and objects in one event; Python's own decoder stops at about twice that."""


MAX_REJECTS = 1_000_000
"""Lines of a source that may be no events; each is kept, with its reason."""


@dataclass(frozen=True)
class Reject:
    """A line that is not an event."""

    line: int
    reason: str
    text: str


class NotAnEventError(Exception):
    """A line is no event; the message says why."""


@dataclass
class ReadPass:
    """A pass over one file: filled in while its batches are drawn."""

    path: str
    start_byte: int = 0
    """Bytes that were taken before."""
    start_line: int = 0
    starts_inside_line: bool = False
    """What was taken before ended without a line break."""
    consumed: int = 0
    """Bytes (for a whole file: rows) taken when all batches are drawn."""
    line_count: int = 0
    ends_without_line_break: bool = False
    """The file ended without a line break, so its last line may still grow."""
    is_last_line_torn: bool = False
    """That last line is no event as it stands; it was given back and is read again next time."""
    read_bytes: int = 0
    """Bytes of the file that were read so far, for a progress bar."""
    source_position: dict[str, Any] = field(default_factory=dict)
    """Of a source that is no file, up to where it was taken; advanced while batches are drawn."""
    undecoded_count: int = 0
    """Payloads that a registry's schemas couldn't decode, and that stayed as they were."""
    rejects: list[Reject] = field(default_factory=list)

    def add_reject(self, line: int, reason: str, text: str, size_bytes: int) -> None:
        """Refuse a line of `size` bytes; give the last one back if its writer may not be done."""
        if self.ends_without_line_break and not self.is_last_line_torn and line == self.line_count:
            self.is_last_line_torn = True
            reason = f"the file ends inside this line ({reason})"
            self.consumed -= size_bytes
            self.line_count -= 1
        if len(self.rejects) >= MAX_REJECTS:
            raise SourceError(
                f"{self.path} has more than {MAX_REJECTS:,} lines that are no events"
                f" (line {line}: {reason}); is it in another format, which --format names?"
            )
        self.rejects.append(Reject(line, reason, text))


@dataclass(frozen=True)
class FieldSql:
    """SQL over a batch's row."""

    text_by_field: Mapping[str, str]
    """An expression of type VARCHAR for each field that the source has."""
    time_sql: str | None = None
    """What `time` is as a TIMESTAMPTZ, where the source has it as such."""
    is_good_sql: str = "true"
    """Whether the row could be read."""
    raw_sql: str = "NULL"
    """The row as it stood in the file, for a second look."""
    stages: Sequence[str] = ()
    """Columns computed once for each row, one after the other, which the other expressions may use."""


class Format(Protocol):
    """One way to write records into a file."""

    name: str
    is_whole_file: bool
    """The file has an index of its own (Parquet, Arrow): it is rewritten, never appended to."""

    def recognises(self, name: str, head: bytes) -> bool:
        """Whether a file of this name, with these first decompressed bytes, is in this format."""
        ...

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:
        """Up to `SAMPLE_RECORDS` records from the beginning."""
        ...

    def read_batches(self, read_pass: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Batches in the order of the file, with a column `LINE` (int64)."""
        ...

    def compile_fields(self, mapping: FieldMapping, schema: pa.Schema) -> FieldSql:
        """How the row of a batch with this schema becomes the fields of an event."""
        ...

    def repair_row(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:
        """The fields of a row that wasn't good; None for a blank one; raises `NotAnEventError`."""
        ...
