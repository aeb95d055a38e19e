"""The documents that a worker holds, and which documents are a worker's."""

from __future__ import annotations

import zlib
from typing import Any, Callable, Dict, Iterable, List, Optional

from ..protocol import encoding
from .parts import DocumentParts
from .result import NO_CHANGE

_MAX_FULLY_CHECKED = 20_000
"""Changes, and documents at the end, up to which all are looked at for values that aren't plain."""
_CHECK_INTERVAL = 64
"""Beyond that, every so manieth is."""
_RECENT_CHANGES = 200_000
"""Changes within which a document is held as it is."""


class LossyEncodingError(Exception):
    """A state holds what JSON can't bring back, so the fold must be begun again carefully."""


class HeldDocument:
    """A document's state, its JSON, and the number of its last change.

    None and None where it isn't there; whether it ever was, its last change says. A state of None
    beside a text is to be decoded from it. A large one has `parts`, and no text of its own.
    """

    __slots__ = ("change", "parts", "state", "text")

    def __init__(self, change: int = NO_CHANGE) -> None:
        self.state: Any = None
        self.text: Optional[bytes] = None
        self.parts: Optional[DocumentParts] = None
        self.change = change

    @property
    def round_trips_json(self) -> bool:
        """Whether it comes back from its JSON as it is."""
        found: bool = (
            encoding.round_trips_json(self.state)
            if self.parts is None
            else self.parts.round_trips_json()
        )
        return found


class DocumentStore:
    """All that a worker has met, by key; and whether their states come back from JSON.

    All states are looked at in the beginning, and some later on.
    """

    def __init__(self, decode: Callable[[Any], Any], *, exact_encoding: bool) -> None:
        self.by_key: Dict[str, HeldDocument] = {}
        self._decode = decode
        self._exact_encoding = exact_encoding
        self._change_count = 0

    @property
    def checks_every_change(self) -> bool:
        """Every state is to be looked at as soon as it is there."""
        return not self._exact_encoding and self._change_count < _MAX_FULLY_CHECKED

    def find_missing(self, keys: Iterable[str]) -> List[str]:
        """Those that aren't held, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self.by_key]

    def get_or_create(self, key: str) -> HeldDocument:
        """A document as it is held here; it is one that isn't there where nothing is."""
        document = self.by_key.get(key)
        if document is None:
            document = self.by_key[key] = HeldDocument()
        return document

    def drop_old_values(self, change: int) -> None:
        """Hold what has not changed for long as its JSON only, which takes a third of the room.

        `change` is the next one's number. Raises `NotPlainError` where something would not come
        back from its JSON.
        """
        if self._exact_encoding:
            return
        for document in self.by_key.values():
            if document.parts is None and document.change < change - _RECENT_CHANGES:
                if document.state is not None and not document.round_trips_json:
                    raise LossyEncodingError
                document.state = None

    def check_sample(self, changed: List[str]) -> None:
        """Look at states that have changed; raises `NotPlainError`."""
        step = 1 if self.checks_every_change else _CHECK_INTERVAL
        self._change_count += len(changed)
        documents = (self.by_key[key] for key in changed[::step])
        if not all(d.round_trips_json for d in documents if d.parts is None):
            raise LossyEncodingError

    @property
    def check_interval(self) -> int:
        """Every so manieth change of large documents is to be looked at; 0: none."""
        return 0 if self._exact_encoding else 1 if self.checks_every_change else _CHECK_INTERVAL

    def all_round_trip_json(self) -> Optional[bool]:
        """Whether every document comes back from its JSON as it is; None where nobody looked.

        Looking through very many costs more than folding the few that a later event reaches again.
        Raises `NotPlainError` where a handler changed what it did not ask a large document for.
        """
        if self._exact_encoding:
            return False
        if not all(d.parts.matches_report() for d in self.by_key.values() if d.parts is not None):
            raise LossyEncodingError
        if len(self.by_key) > _MAX_FULLY_CHECKED:
            return None
        return all(document.round_trips_json for document in self.by_key.values())


class DocumentShare:
    """Which documents are this worker's, where several share them and their keys are routed."""

    def __init__(self, share: int = 0, share_count: int = 1) -> None:
        self._share = share
        self._share_count = share_count
        self.is_only_share = share_count == 1
        self.is_first_share = share == 0
        """This one also tells what concerns no document."""

    def contains(self, key: str) -> bool:
        return (
            self.is_only_share
            or zlib.crc32(key.encode("utf-8", "replace")) % self._share_count == self._share
        )
