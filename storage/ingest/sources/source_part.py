"""What a source is made of: something that is read in order, and later from where reading ended."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from storage.ingest.formats import Format, ReadPass
from storage.ingest.io.fingerprints import Fingerprint
from storage.ingest.mapping import FieldMapping, Record


class SourcePart(Protocol):
    """A file, a table, or a topic, looked at."""

    @property
    def path(self) -> str:
        """How it is called; without secrets."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes; 0 where nobody knows."""
        ...

    @property
    def format(self) -> Format:
        """How its rows become fields."""
        ...

    def read_sample(self) -> Sequence[Record]:
        """Records from the beginning."""
        ...

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """What comes after what was taken before."""
        ...

    def take_fingerprint(self, reading: ReadPass) -> Fingerprint:
        """What is kept of it, so that it is known again and read on from there."""
        ...
