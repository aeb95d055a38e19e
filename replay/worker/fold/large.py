"""Events at documents that are kept in parts, and documents that get so large that they are."""

from __future__ import annotations

from typing import Any, Callable, Optional, Set

from ..environment.calls import Calls
from ..protocol.event import DELETED
from .documents import Document, NotPlainError
from .event_application import Visit
from .parts import Kept, Parts
from .result import IN_PARTS, Result
from .tracked_dict import WholeError

LARGE = 64 << 10
"""Bytes of JSON from which on a document is kept in parts."""
SAME = b" "
"""What stands for the JSON of a document that an event left as it was; no JSON is that."""


class Large:
    """Takes documents apart, and applies events to those that are."""

    def __init__(
        self,
        encode: Callable[[Any], bytes],
        decode: Callable[[Any], Any],
        calls: Calls,
        *,
        careful: bool,
    ) -> None:
        self._calls = calls
        self._encode = encode
        self._decode = decode
        self._careful = careful
        self._whole: Set[str] = set()
        """Keys of large documents that can't be kept in parts."""

    def take_apart(self, visit: Visit) -> Optional[bytes]:
        """Keep a document in parts from now on, where it can be; what is told as its JSON."""
        document = visit.document
        if visit.key not in self._whole:
            parts = self._parts()
            try:
                parts.take_apart(document.state, visit.result.parts, len(visit.result.rows))
                document.parts, document.state, document.text = parts, parts.root, IN_PARTS
            except (WholeError, RecursionError):
                self._whole.add(visit.key)
        text: Optional[bytes] = document.text
        return text

    def take_up(self, document: Document, kept: Kept) -> Parts:
        """Give a document the parts that an earlier fold kept, and return them."""
        parts = self._parts()
        parts.take_up(*kept)
        document.parts = parts
        document.state, document.text = parts.root, IN_PARTS
        return parts

    def apply(
        self, document: Any, key: str, result: Result, event: Any, handle: Any, *, look: bool
    ) -> Optional[bytes]:
        """What the document is told as after an event: `SAME`, in parts, whole or gone.

        Raises what `handle(state, event)` does, after which the parts are to be taken back, and
        `NotPlainError` where one is to `look` for what JSON can't bring back.
        """
        parts, change = document.parts, len(result.rows)
        returned = handle(parts.root, event)
        if self._calls.refused:
            self._calls.raise_refused()
        if look and not parts.changes_are_plain(returned):
            raise NotPlainError
        state: Any = None
        text: Optional[bytes] = None
        if returned is not DELETED:
            try:
                return IN_PARTS if parts.settle(returned, result.parts, change) else SAME
            except WholeError:
                state = parts.whole(returned)
                text = self._encode(state)
        parts.vanish(result.parts, change)
        document.parts = None
        document.state, document.text = state, text
        if text is not None:
            self._whole.add(key)
        return text

    def _parts(self) -> Parts:
        return Parts(self._encode, self._decode, careful=self._careful)
