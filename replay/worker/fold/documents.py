"""The documents that a worker holds, and which documents are a worker's."""

from __future__ import annotations

import zlib
from typing import Any, Callable, Dict, Iterable, List, Optional

from ..protocol import encoding
from .parts import Parts
from .result import UNCHANGED

_LOOKED_THROUGH = 20_000
"""Changes, and documents at the end, up to which all are looked at for values that aren't plain."""
_STEP = 64
"""Beyond that, every so manieth is."""
_LATELY = 200_000
"""Changes within which a document is held as it is."""


class NotPlainError(Exception):
    """A state holds what JSON can't bring back, so the fold must be begun again carefully."""


class Document:
    """A document's state, its JSON, and the number of its last change.

    None and None where it isn't there; whether it ever was, its last change says. A state of None
    beside a text is to be decoded from it. A large one has `parts`, and no text of its own.
    """

    __slots__ = ("change", "parts", "state", "text")

    def __init__(self, change: int = UNCHANGED) -> None:
        self.state: Any = None
        self.text: Optional[bytes] = None
        self.parts: Optional[Parts] = None
        self.change = change

    @property
    def is_plain(self) -> bool:
        """Whether it comes back from its JSON as it is."""
        found: bool = encoding.is_plain(self.state) if self.parts is None else self.parts.is_plain()
        return found


class Documents:
    """All that a worker has met, by key; and whether their states come back from JSON.

    All states are looked at in the beginning, and some later on.
    """

    def __init__(self, decode: Callable[[Any], Any], *, careful: bool) -> None:
        self.by_key: Dict[str, Document] = {}
        self._decode = decode
        self._careful = careful
        self._changes = 0

    @property
    def looks(self) -> bool:
        """Every state is to be looked at as soon as it is there."""
        return not self._careful and self._changes < _LOOKED_THROUGH

    def missing(self, keys: Iterable[str]) -> List[str]:
        """Those that aren't held, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self.by_key]

    def at(self, key: str) -> Document:
        """A document as it is held here; it is one that isn't there where nothing is."""
        document = self.by_key.get(key)
        if document is None:
            document = self.by_key[key] = Document()
        return document

    def cool(self, change: int) -> None:
        """Hold what has not changed for long as its JSON only, which takes a third of the room.

        `change` is the next one's number. Raises `NotPlainError` where something would not come
        back from its JSON.
        """
        if self._careful:
            return
        for document in self.by_key.values():
            if document.parts is None and document.change < change - _LATELY:
                if document.state is not None and not document.is_plain:
                    raise NotPlainError
                document.state = None

    def sample(self, changed: List[str]) -> None:
        """Look at states that have changed; raises `NotPlainError`."""
        step = 1 if self.looks else _STEP
        self._changes += len(changed)
        documents = (self.by_key[key] for key in changed[::step])
        if not all(d.is_plain for d in documents if d.parts is None):
            raise NotPlainError

    @property
    def looks_at(self) -> int:
        """Every so manieth change of large documents is to be looked at; 0: none."""
        return 0 if self._careful else 1 if self.looks else _STEP

    def surely_plain(self) -> Optional[bool]:
        """Whether every document comes back from its JSON as it is; None where nobody looked.

        Looking through very many costs more than folding the few that a later event reaches again.
        Raises `NotPlainError` where a handler changed what it did not ask a large document for.
        """
        if self._careful:
            return False
        if not all(d.parts.as_told() for d in self.by_key.values() if d.parts is not None):
            raise NotPlainError
        if len(self.by_key) > _LOOKED_THROUGH:
            return None
        return all(document.is_plain for document in self.by_key.values())


class Share:
    """Which documents are this worker's, where several share them and their keys are routed."""

    def __init__(self, part: int = 0, parts: int = 1) -> None:
        self._part = part
        self._parts = parts
        self.whole = parts == 1
        self.first = part == 0
        """This one also tells what concerns no document."""

    def has(self, key: str) -> bool:
        return self.whole or zlib.crc32(key.encode("utf-8", "replace")) % self._parts == self._part
