"""The documents that a worker holds, and its share of them if several workers fold."""

from __future__ import annotations

import zlib
from typing import Any, Callable, Dict, Iterable, List, Optional

from ..protocol import encoding
from .document_parts import DocumentParts
from .result import NO_CHANGE

_MAX_FULLY_CHECKED = 20_000
"""Number of changes, and of documents at the end, up to which every state is checked."""
_CHECK_INTERVAL = 64
"""Beyond that number, check every Nth changed state."""
_RECENT_CHANGES = 200_000
"""A document keeps its state in memory for this many changes after its last one."""


class LossyEncodingError(Exception):
    """A state doesn't round-trip through JSON, so the fold must restart with exact encoding."""


class HeldDocument:
    """A document's state, its JSON, and the number of its last change.

    State and text are None if the document doesn't exist; `change` tells whether it ever did. If only
    the state is None, decode it from the text. A large document has `parts` and an empty text.
    """

    __slots__ = ("change", "parts", "state", "text")

    def __init__(self, change: int = NO_CHANGE) -> None:
        self.state: Any = None
        self.text: Optional[bytes] = None
        self.parts: Optional[DocumentParts] = None
        self.change = change

    @property
    def round_trips_json(self) -> bool:
        """Whether the state is the same after a trip through JSON."""
        round_trips: bool = (
            encoding.round_trips_json(self.state)
            if self.parts is None
            else self.parts.round_trips_json()
        )
        return round_trips


class DocumentStore:
    """A worker's documents by key; checks whether their states round-trip through JSON.

    It checks every changed state at first, and a sample later.
    """

    def __init__(self, decode: Callable[[Any], Any], *, exact_encoding: bool) -> None:
        self.by_key: Dict[str, HeldDocument] = {}
        self._decode = decode
        self._exact_encoding = exact_encoding
        self._change_count = 0

    @property
    def checks_every_change(self) -> bool:
        """Whether each new state must be checked as soon as it is encoded."""
        return not self._exact_encoding and self._change_count < _MAX_FULLY_CHECKED

    def find_missing(self, keys: Iterable[str]) -> List[str]:
        """Return the keys without a document here, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self.by_key]

    def get_or_create(self, key: str) -> HeldDocument:
        """Return the document of a key; create an empty one if there is none."""
        document = self.by_key.get(key)
        if document is None:
            document = self.by_key[key] = HeldDocument()
        return document

    def drop_old_values(self, change: int) -> None:
        """Keep documents that have not changed for long as JSON only: a third of the memory.

        `change` is the number of the next change. Raises `LossyEncodingError` if a state doesn't
        round-trip through JSON.
        """
        if self._exact_encoding:
            return
        for document in self.by_key.values():
            if document.parts is None and document.change < change - _RECENT_CHANGES:
                if document.state is not None and not document.round_trips_json:
                    raise LossyEncodingError
                document.state = None

    def check_sample(self, changed: List[str]) -> None:
        """Check a sample of the changed states.

        Raises `LossyEncodingError` if one doesn't round-trip through JSON.
        """
        step = 1 if self.checks_every_change else _CHECK_INTERVAL
        self._change_count += len(changed)
        documents = (self.by_key[key] for key in changed[::step])
        if not all(d.round_trips_json for d in documents if d.parts is None):
            raise LossyEncodingError

    @property
    def check_interval(self) -> int:
        """Check every Nth change of a large document; 0 disables the check."""
        return 0 if self._exact_encoding else 1 if self.checks_every_change else _CHECK_INTERVAL

    def all_round_trip_json(self) -> Optional[bool]:
        """Return whether every document round-trips through JSON; None if there are too many.

        Checking very many documents costs more than folding again the few that later events reach.
        Raises `LossyEncodingError` if a handler changed a part of a large document unnoticed.
        """
        if self._exact_encoding:
            return False
        if not all(d.parts.matches_report() for d in self.by_key.values() if d.parts is not None):
            raise LossyEncodingError
        if len(self.by_key) > _MAX_FULLY_CHECKED:
            return None
        return all(document.round_trips_json for document in self.by_key.values())


class DocumentShare:
    """The documents that this worker folds if several workers share a routed projection."""

    def __init__(self, share: int = 0, share_count: int = 1) -> None:
        self._share = share
        self._share_count = share_count
        self.is_only_share = share_count == 1
        self.is_first_share = share == 0
        """Whether this worker also reports what concerns no document, such as skipped events."""

    def contains(self, key: str) -> bool:
        """Return whether this worker folds the document with this key."""
        return (
            self.is_only_share
            or zlib.crc32(key.encode("utf-8", "replace")) % self._share_count == self._share
        )
