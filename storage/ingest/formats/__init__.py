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
from storage.quoting import own

SAMPLE = 1000
"""Records that are looked at to find the mapping."""

SAMPLE_BYTES = 8 << 20
"""Decompressed bytes of a file's head in which they are looked for."""

LINE = own("line")
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


class UnfitError(Exception):
    """A line is no event; the message says why."""


@dataclass
class Reading:
    """A pass over one file: filled in while its batches are drawn."""

    path: str
    start: int = 0
    """Bytes that were taken before."""
    start_line: int = 0
    continues: bool = False
    """What was taken before ended without a line break."""
    taken: int = 0
    """Bytes (for a whole file: rows) taken when all batches are drawn."""
    lines: int = 0
    partial: bool = False
    """The file ended without a line break, so its last line may still grow."""
    torn: bool = False
    """That last line is no event as it stands; it was given back and is read again next time."""
    done: int = 0
    """Bytes of the file that were read so far, for a progress bar."""
    position: dict[str, Any] = field(default_factory=dict)
    """Of a source that is no file, up to where it was taken; advanced while batches are drawn."""
    undecoded: int = 0
    """Payloads that a registry's schemas couldn't decode, and that stayed as they were."""
    rejects: list[Reject] = field(default_factory=list)

    def reject(self, line: int, reason: str, text: str, size: int) -> None:
        """Refuse a line of `size` bytes; give the last one back if its writer may not be done."""
        if self.partial and not self.torn and line == self.lines:
            self.torn = True
            reason = f"the file ends inside this line ({reason})"
            self.taken -= size
            self.lines -= 1
        if len(self.rejects) >= MAX_REJECTS:
            raise SourceError(
                f"{self.path} has more than {MAX_REJECTS:,} lines that are no events"
                f" (line {line}: {reason}); is it in another format, which --format names?"
            )
        self.rejects.append(Reject(line, reason, text))


@dataclass(frozen=True)
class Fields:
    """SQL over a batch's row."""

    text: Mapping[str, str]
    """An expression of type VARCHAR for each field that the source has."""
    moment: str | None = None
    """What `time` is as a TIMESTAMPTZ, where the source has it as such."""
    good: str = "true"
    """Whether the row could be read."""
    raw: str = "NULL"
    """The row as it stood in the file, for a second look."""
    stages: Sequence[str] = ()
    """Columns computed once for each row, one after the other, which the other expressions may use."""


class Format(Protocol):
    """One way to write records into a file."""

    name: str
    whole: bool
    """The file has an index of its own (Parquet, Arrow): it is rewritten, never appended to."""

    def recognises(self, name: str, head: bytes) -> bool:
        """Whether a file of this name, with these first decompressed bytes, is in this format."""
        ...

    def sample(self, path: str, head: bytes) -> Sequence[Record]:
        """Up to `SAMPLE` records from the beginning."""
        ...

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Batches in the order of the file, with a column `LINE` (int64)."""
        ...

    def fields(self, mapping: FieldMapping, schema: pa.Schema) -> Fields:
        """How the row of a batch with this schema becomes the fields of an event."""
        ...

    def second_look(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:
        """The fields of a row that wasn't good; None for a blank one; raises `UnfitError`."""
        ...
