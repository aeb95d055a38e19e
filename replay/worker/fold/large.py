"""Events at documents that are kept in parts, and documents that get so large that they are."""

from __future__ import annotations

from typing import Any, Callable, Optional, Set

from ..environment.calls import CallDispatcher
from ..protocol.event import DELETED
from .documents import HeldDocument, LossyEncodingError
from .event_application import EventApplication
from .parts import DocumentParts, StoredParts
from .result import STATE_IN_PARTS, ResultColumns
from .tracked_dict import NotSplittableError

LARGE_DOCUMENT_BYTES = 64 << 10
"""Bytes of JSON from which on a document is kept in parts."""
UNCHANGED_STATE = b" "
"""What stands for the JSON of a document that an event left as it was; no JSON is that."""


class LargeDocumentApplier:
    """Takes documents apart, and applies events to those that are."""

    def __init__(
        self,
        encode: Callable[[Any], bytes],
        decode: Callable[[Any], Any],
        calls: CallDispatcher,
        *,
        exact_encoding: bool,
    ) -> None:
        self._calls = calls
        self._encode = encode
        self._decode = decode
        self._exact_encoding = exact_encoding
        self._unsplittable_keys: Set[str] = set()
        """Keys of large documents that can't be kept in parts."""

    def split_document(self, application: EventApplication) -> Optional[bytes]:
        """Keep a document in parts from now on, where it can be; what is told as its JSON."""
        document = application.document
        if application.key not in self._unsplittable_keys:
            parts = self._create_parts()
            try:
                parts.split_state(
                    document.state,
                    application.result.part_columns,
                    len(application.result.event_rows),
                )
                document.parts, document.state, document.text = parts, parts.root, STATE_IN_PARTS
            except (NotSplittableError, RecursionError):
                self._unsplittable_keys.add(application.key)
        text: Optional[bytes] = document.text
        return text

    def restore_document(self, document: HeldDocument, stored_parts: StoredParts) -> DocumentParts:
        """Give a document the parts that an earlier fold kept, and return them."""
        parts = self._create_parts()
        parts.restore(*stored_parts)
        document.parts = parts
        document.state, document.text = parts.root, STATE_IN_PARTS
        return parts

    def apply_event(
        self,
        document: Any,
        key: str,
        result: ResultColumns,
        event: Any,
        handle: Any,
        *,
        is_checked: bool,
    ) -> Optional[bytes]:
        """What the document is told as after an event: `UNCHANGED_STATE`, in parts, whole or gone.

        Raises what `handle(state, event)` does, after which the parts are to be taken back, and
        `NotPlainError` where one is to `look` for what JSON can't bring back.
        """
        parts, change = document.parts, len(result.event_rows)
        returned = handle(parts.root, event)
        if self._calls.refusals:
            self._calls.raise_first_refusal()
        if is_checked and not parts.changes_are_plain(returned):
            raise LossyEncodingError
        state: Any = None
        text: Optional[bytes] = None
        if returned is not DELETED:
            try:
                return (
                    STATE_IN_PARTS
                    if parts.settle(returned, result.part_columns, change)
                    else UNCHANGED_STATE
                )
            except NotSplittableError:
                state = parts.whole(returned)
                text = self._encode(state)
        parts.vanish(result.part_columns, change)
        document.parts = None
        document.state, document.text = state, text
        if text is not None:
            self._unsplittable_keys.add(key)
        return text

    def _create_parts(self) -> DocumentParts:
        return DocumentParts(self._encode, self._decode, exact_encoding=self._exact_encoding)
