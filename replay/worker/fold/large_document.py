"""Splits documents that become large, and applies events to documents that are kept in parts."""

from __future__ import annotations

from typing import Any, Callable, Optional, Set

from ..environment.calls import CallDispatcher
from ..protocol.event import DELETED
from .document_parts import DocumentParts, StoredParts
from .documents import HeldDocument, LossyEncodingError
from .event_application import EventApplication
from .result import STATE_IN_PARTS, ResultColumns
from .tracked_dict import NotSplittableError

LARGE_DOCUMENT_BYTES = 64 << 10
"""A document with more bytes of JSON than this is kept in parts."""
UNCHANGED_STATE = b" "
"""Text for a large document that an event didn't change; no JSON text equals it."""


class LargeDocumentApplier:
    """Splits large documents into parts, and applies events to split documents."""

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
        """Keep a document in parts from now on, if possible; return the text to report for it.

        The text is `STATE_IN_PARTS`, or the document's JSON if it can't be split.
        """
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
        """Restore a document from the parts that an earlier fold stored, and return its parts."""
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
        """Apply an event to a document in parts; return the text to report for it.

        The text is `UNCHANGED_STATE`, `STATE_IN_PARTS`, the JSON of a document that can no longer be
        split, or None if it was deleted. Raises what `handle(state, event)` raises; the caller must
        then call the parts' `take_back`. If `is_checked`, raises `LossyEncodingError` if a changed
        value doesn't round-trip through JSON.
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
                state = parts.to_plain_state(returned)
                text = self._encode(state)
        parts.report_all_removed(result.part_columns, change)
        document.parts = None
        document.state, document.text = state, text
        if text is not None:
            self._unsplittable_keys.add(key)
        return text

    def _create_parts(self) -> DocumentParts:
        return DocumentParts(self._encode, self._decode, exact_encoding=self._exact_encoding)
