"""A document as a worker holds it, and which documents are a worker's."""

from __future__ import annotations

import zlib
from typing import Any, Optional

from refold_worker.result import UNCHANGED


class Document:
    """A document's state, its JSON, and the number of its last change.

    None and None where it isn't there; whether it ever was, its last change says. A state of None
    beside a text is to be decoded from it.
    """

    __slots__ = ("change", "state", "text")

    def __init__(self, change: int = UNCHANGED) -> None:
        self.state: Any = None
        self.text: Optional[bytes] = None
        self.change = change


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
