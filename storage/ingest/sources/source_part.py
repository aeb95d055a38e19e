"""The interface of a part of a source: it is read in order, and a later load continues where it ended."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from storage.ingest.formats import Format, ReadPass
from storage.ingest.io.fingerprints import Fingerprint
from storage.ingest.mapping import FieldMapping, Record


class SourcePart(Protocol):
    """An opened file, table or topic."""

    @property
    def path(self) -> str:
        """The name of the part, without secrets."""
        ...

    @property
    def size_bytes(self) -> int:
        """The size in bytes; 0 if unknown."""
        ...

    @property
    def format(self) -> Format:
        """The format, which maps its rows to fields."""
        ...

    def read_sample(self) -> Sequence[Record]:
        """Return records from the beginning."""
        ...

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        """Yield the rows after those that earlier loads read."""
        ...

    def take_fingerprint(self, reading: ReadPass) -> Fingerprint:
        """Return the fingerprint, by which a later load recognises the part and continues."""
        ...
