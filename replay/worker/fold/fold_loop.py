"""The general fold: applies batches of events to documents and returns the changes.

An event changes a document if the document's JSON after the event differs from its JSON before. A
handler that raises leaves its document as it was. The engine holds the documents; the session asks
the parent for those that it lacks.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Set

from ..environment.calls import CallDispatcher
from ..protocol import encoding, tracebacks, user_code
from ..protocol.event import DELETED, EventBatch, LazyEvent, Upcast
from ..protocol.output_capture import ROUTING_PLACE
from ..protocol.text_limits import escape_surrogates
from .contract import Handler, Projection
from .document_parts import StoredParts
from .documents import DocumentShare, DocumentStore, HeldDocument, LossyEncodingError
from .event_application import EventApplication
from .event_router import EventRouter
from .invariants import InvariantChecker
from .large_document import LARGE_DOCUMENT_BYTES, UNCHANGED_STATE, LargeDocumentApplier
from .probes import Probe
from .result import OutOfMemoryError, ResultColumns


class PythonFoldEngine:
    """Folds batch after batch; holds the state and the last JSON of every document it has met.

    The fast encoder writes states that round-trip through JSON; after a failure the engine restores
    them from their JSON. When a state doesn't round-trip, `LossyEncodingError` asks for a careful
    fold from the start, which copies states before each event and encodes them exactly. Large
    documents are kept in parts. This engine folds any projection; `fast_path` folds the common case.
    """

    def __init__(
        self,
        projection: Projection,
        decode: Callable[[Any], Any],
        current_event: Any,
        calls: CallDispatcher,
        *,
        careful: bool,
        share: Optional[DocumentShare] = None,
        probe: Optional[Probe] = None,
    ) -> None:
        self.name = projection.name
        self.is_routed = projection.is_routed
        self.invariant_conditions = {
            **dict.fromkeys(projection.invariants),
            **projection.conditions,
        }
        """The projection's invariants: name to SQL condition, or to None for a function."""
        self.runtime = describe_runtime()
        self.uses_exact_encoding = careful
        self.decode = decode
        self._projection = projection
        # If the stream is the key, the parent has already sent each worker only its own streams.
        self._share = share if share and projection.is_routed else DocumentShare()
        self._probe = probe
        self._calls = calls
        self._current_event = current_event
        self._router = EventRouter(projection, calls, current_event)
        self._encode = encoding.encode_exactly if careful else encoding.build_plain_encoder()
        self._splits_large_documents = probe is None
        """Whether large documents are kept in parts; a probe needs states whole."""
        self._next_change = 0
        self._check_interval = 0
        self.only_keys: Optional[Set[str]] = None
        """The only keys that may change; None if all may."""
        self.reset()

    can_share_documents = True
    """Whether several workers can share the documents of a routed projection."""
    can_reset = True
    """Whether it can forget its documents and start again."""
    restores_from_json = False
    """Whether every document can be restored from its JSON, whatever its state is."""

    @property
    def held_documents(self) -> int:
        """The number of documents that take memory in this process."""
        return len(self._documents.by_key)

    def release_memory(self) -> None:
        """Keep documents that have not changed for long as JSON only.

        Raises `LossyEncodingError` if one doesn't round-trip through JSON.
        """
        self._documents.drop_old_values(self._next_change)

    def list_files(self) -> List[str]:
        """Return the paths of the projection's code files."""
        files: List[str] = user_code.list_user_files()
        return files

    def find_missing_keys(self, batch: EventBatch) -> List[str]:
        """Return the keys that the batch reaches and whose documents this engine doesn't hold."""
        if not self.is_routed:
            keys = [s for s in batch.streams if s is not None]
        else:
            keys_by_event = self._router.route_events(batch)
            keys = [
                key
                for event_keys in keys_by_event
                for key in event_keys or ()
                if self._folds_key(key)
            ]
        missing: List[str] = self._documents.find_missing(keys)
        return missing

    def _folds_key(self, key: str) -> bool:
        """Return whether this engine folds the document with this key."""
        return self._share.contains(key) and (self.only_keys is None or key in self.only_keys)

    def route_events(self, batch: EventBatch) -> List[List[str]]:
        """Return the keys that each event reaches; an empty list if `key` raises."""
        if not self.is_routed:
            return [[] if s is None else [s] for s in batch.streams_of_events()]
        return [keys or [] for keys in self._router.route_events(batch)]

    @property
    def can_merge(self) -> bool:
        """Whether the projection can merge two versions of a document."""
        return self._projection.merge is not None

    def merge_documents(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:
        """Merge each (base, left, right); return `state` as JSON text, or `error`, for each."""
        merged: List[Dict[str, Any]] = []
        merge: Any = self._projection.merge
        for base, left, right in versions:
            try:
                state = merge(base, left, right)
                merged.append({"state": encoding.encode_exactly(state).decode()})
            except tracebacks.list_failure_types() as error:
                merged.append({"error": escape_surrogates(tracebacks.summarize_error(error))})
        return merged

    def reset(self) -> None:
        """Forget every document."""
        self._documents = DocumentStore(self.decode, exact_encoding=self.uses_exact_encoding)
        self._large_documents = LargeDocumentApplier(
            self._encode, self.decode, self._calls, exact_encoding=self.uses_exact_encoding
        )
        self._invariants = InvariantChecker(self._projection.invariants)
        self._all_hold = self._invariants.all_hold if self._projection.invariants else None
        self.only_keys = None

    def set_next_change(self, change: int) -> None:
        """Set the number of the next change; later changes count up from it."""
        self._next_change = change

    def resume(
        self, key: str, change: int, state: Optional[bytes], parts: Optional[StoredParts] = None
    ) -> None:
        """Restore a document from its JSON or its parts after a change, given by its number.

        `state` and `parts` are None for a deleted document.
        """
        document = self._documents.get_or_create(key)
        document.change = change
        if parts is not None:
            self._large_documents.restore_document(document, parts).query_untracked(
                lambda root: self._invariants.update(key, root)
            )
        elif state is not None:
            document.state, document.text = self.decode(state), state
            self._invariants.update(key, document.state)

    def refold(self, batch: EventBatch, keys: List[str], changes: Dict[str, int]) -> None:
        """Restore documents by folding their events again, without reporting the changes.

        `changes` maps keys to the numbers of their last changes.
        """
        next_change, only = self._next_change, self.only_keys
        self.only_keys = set(keys)
        self.fold(batch)
        self.only_keys = only
        self._next_change = next_change
        for key, change in changes.items():
            self._documents.get_or_create(key).change = change

    def add_absent_documents(self, keys: List[str]) -> None:
        """Create empty documents for the keys that aren't held: they never had a document."""
        for key in keys:
            self._documents.get_or_create(key)

    def document(self, key: str) -> HeldDocument:
        """Return the document of a key; an empty one if there is none."""
        return self._documents.get_or_create(key)

    def fold(self, batch: EventBatch) -> ResultColumns:
        """Apply a batch's events in order and return what they changed.

        Raises `LossyEncodingError` if a state doesn't round-trip through JSON, and
        `OutOfMemoryError`.
        """
        self._calls.begin_batch(batch)
        self._calls.document_key = None
        self._check_interval = self._documents.check_interval
        result = self._apply_batch(batch)
        if not self.uses_exact_encoding:
            self._documents.check_sample(result.keys)
        return result

    def _apply_batch(self, batch: EventBatch) -> ResultColumns:
        """Apply events with any routing, any states and upcasts."""
        result = ResultColumns()
        projection, share = self._projection, self._share
        skipped: Dict[str, int] = {}
        checks_every_change, refused = self._documents.checks_every_change, self._calls.refusals
        for index, event_keys in enumerate(
            self._router.route_events(batch, partial(self._record_routing_failure, batch, result))
        ):
            if event_keys is None:
                continue
            self._current_event[0], self._current_event[1] = batch.offset(index), ROUTING_PLACE
            event = self._router.build_event(batch, index)
            if isinstance(event, Upcast) and share.is_first_share:
                result.add_upcast(event)
            handler = projection.find_handler(event.type)
            if handler is None:
                if share.is_first_share:
                    name = str(event.type)
                    skipped[name] = skipped.get(name, 0) + 1
                continue
            for key_place, key in enumerate(event_keys):
                if not self._folds_key(key):
                    continue
                self._current_event[1] = key_place
                if key_place:
                    event = self._router.build_event(batch, index)
                self._calls.document_key = key
                document = self._documents.get_or_create(key)
                application = EventApplication(result, batch, index, key, document, key_place)
                application.add_route()
                if document.parts is not None:
                    self._apply_to_parts(application, event, partial(apply_with_key, handler, key))
                    continue
                before, encoded = document.state, document.text
                if before is None and encoded is not None:
                    before = self.decode(encoded)
                state: Any = None
                try:
                    state = projection.initial(key) if encoded is None else before
                    if self.uses_exact_encoding and encoded is not None:
                        before = deepcopy(state)
                    returned = handler(state, event, key)
                    if refused:
                        self._calls.raise_first_refusal()
                    if returned is DELETED:
                        state = text = None
                    else:
                        state = state if returned is None else returned
                        text = self._encode(state)
                except tracebacks.list_failure_types() as error:
                    self._record_failure(application, error, before, encoded, state)
                    continue
                document.state = state
                if self._probe is not None:
                    handle, build_fresh_event = (
                        self._wrap_handler(handler, key),
                        partial(self._router.build_event, batch, index),
                    )
                    self._probe.probe_event(key, event, build_fresh_event, before, text, handle)
                if text == encoded:
                    continue
                document.text = text
                if checks_every_change and not encoding.round_trips_json(state):
                    raise LossyEncodingError  # check now: a later event may change it
                if (
                    text is not None
                    and len(text) > LARGE_DOCUMENT_BYTES
                    and self._splits_large_documents
                ):
                    text = self._large_documents.split_document(application)
                self._add_change(application, text)
        result.unhandled_by_type = skipped
        return result

    def _add_change(self, application: EventApplication, text: Optional[bytes]) -> None:
        """Number a change of a document and add it to the result."""
        application.add_change(text, self._next_change)
        self._next_change += 1
        if self._all_hold is not None:
            application.add_invariant_transitions(self._invariants)

    def _apply_to_parts(self, application: EventApplication, event: Any, handle: Any) -> None:
        """Apply an event to a document that is kept in parts."""
        is_checked = bool(self._check_interval and self._next_change % self._check_interval == 0)
        document_arguments = (application.document, application.key, application.result)
        try:
            text = self._large_documents.apply_event(
                *document_arguments, event, handle, is_checked=is_checked
            )
        except LossyEncodingError:
            raise
        except tracebacks.list_failure_types() as error:
            self._record_failure_in_parts(application, error)
        else:
            if text is not UNCHANGED_STATE:
                self._add_change(application, text)

    def _record_failure_in_parts(self, application: EventApplication, error: BaseException) -> None:
        """Record the failure, and undo the changes to the document's parts."""
        parts: Any = application.document.parts
        self._record_failure(application, error, list(parts.changed), None, None)
        parts.take_back()

    def _wrap_handler(self, handler: Any, key: str) -> Callable[[Any, Any], Any]:
        """Return the handler as a function of state and event; None stands for no document."""

        def handle(state: Any, event: Any) -> Any:
            state = self._projection.initial(key) if state is None else state
            returned = handler(state, event, key)
            if returned is DELETED:
                return None
            return state if returned is None else returned

        return handle

    def _record_routing_failure(
        self, batch: EventBatch, result: ResultColumns, index: int, error: BaseException
    ) -> None:
        """Add to the result that the `key` or the upcast of an event raised."""
        if self._share.is_first_share:
            self._raise_if_fatal(error, None, None)
            result.add_failure(batch.offset(index), None, LazyEvent(batch, index).type, error)

    def _record_failure(
        self,
        application: EventApplication,
        error: BaseException,
        before: Any,
        encoded: Optional[bytes],
        state: Any,
    ) -> None:
        """Add a failure to the result, and restore the document's state from before the event."""
        self._raise_if_fatal(error, before, state)
        application.add_failure(error)
        if encoded is not None:
            application.document.state = (
                before if self.uses_exact_encoding else self.decode(encoded)
            )

    def _raise_if_fatal(self, error: BaseException, before: Any, state: Any) -> None:
        """Raise if the fold can't continue after an error; `state` is what the handler left.

        Raises `OutOfMemoryError`, or `LossyEncodingError` if the state can't be restored from JSON.
        """
        self._calls.refusals.clear()
        if isinstance(error, MemoryError):
            raise OutOfMemoryError from error
        if not self.uses_exact_encoding and not (
            encoding.round_trips_json(state)
            and encoding.round_trips_json(before)
            and not isinstance(error, UnicodeEncodeError)
        ):
            raise LossyEncodingError

    def all_round_trip_json(self) -> Optional[bool]:
        """Return whether every document round-trips through JSON; None if that wasn't checked."""
        all_round_trip: Optional[bool] = self._documents.all_round_trip_json()
        return all_round_trip

    def take_probe_findings(self) -> List[Dict[str, Any]]:
        """Return the probe's findings; an empty list without a probe."""
        return [] if self._probe is None else self._probe.take_findings()


def describe_runtime() -> str:
    """Return the interpreter's name and version, which are part of a projection's identity."""
    return f"{sys.implementation.name} {sys.version.split()[0]}"


def apply_with_key(handler: Handler, key: str, state: Any, event: Any) -> Any:
    """Call a handler with its key last, for use with `partial`."""
    return handler(state, event, key)
