"""The fold itself: batches of events in, changed documents out.

A document is changed by an event when its JSON after it differs from its JSON before. A handler
that raises leaves its document as it was. Documents live here; what isn't known yet is asked for.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Set

from ..environment.calls import CallDispatcher
from ..protocol import encoding, tracebacks, user_code
from ..protocol.constants import MERGED_EVENT_TYPE
from ..protocol.event import DELETED, EventBatch, LazyEvent, Upcast
from ..protocol.output_capture import ROUTING_PLACE
from ..protocol.text_limits import escape_surrogates
from .contract import Handler, Projection
from .documents import DocumentShare, DocumentStore, HeldDocument, LossyEncodingError
from .event_application import EventApplication
from .invariants import InvariantChecker
from .large import LARGE_DOCUMENT_BYTES, UNCHANGED_STATE, LargeDocumentApplier
from .parts import StoredParts
from .probes import Probe
from .result import OutOfMemoryError, ResultColumns


class PythonFoldEngine:
    """Folds batch after batch; holds the state and the last JSON of every document it has met.

    Plain states are encoded by the quick encoder and restored from their JSON after a failure. As
    soon as a state isn't plain, `NotPlainError` asks for a careful fold from the start, in which
    states are copied before each event and written by the rules. Large documents are kept in parts.
    It folds whatever there is; `refold_worker.fold.fast_path` has the common case.
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
        """Its invariants: name to the condition, or to None where it is a function."""
        self.runtime = describe_runtime()
        self.uses_exact_encoding = careful
        self.decode = decode
        self._projection = projection
        # What isn't routed was told apart before it came here.
        self._share = share if share and projection.is_routed else DocumentShare()
        self._probe = probe
        self._calls = calls
        self._current_event = current_event
        self._encode = encoding.encode_exactly if careful else encoding.build_plain_encoder()
        self._splits_large_documents = probe is None
        """Whether large documents are kept in parts; who tries events on states wants them whole."""
        self._next_change = 0
        self._check_interval = 0
        self.only_keys: Optional[Set[str]] = None
        """The keys that may change, where not all may."""
        self.reset()

    can_share_documents = True
    """Whether several can share the documents of a projection that routes."""
    can_reset = True
    """Whether it can forget its documents and begin anew."""
    restores_from_json = False
    """Whether any document comes back from its JSON, whatever it is."""

    @property
    def held_documents(self) -> int:
        """Documents that take room here."""
        return len(self._documents.by_key)

    def release_memory(self) -> None:
        """Hold what has not changed for long in less room; raises `NotPlainError`."""
        self._documents.drop_old_values(self._next_change)

    def list_files(self) -> List[str]:
        """The code that this projection is made of."""
        found: List[str] = user_code.list_user_files()
        return found

    def find_missing_keys(self, batch: EventBatch) -> List[str]:
        """Keys that the batch will reach and that aren't held here."""
        if not self.is_routed:
            keys = [s for s in batch.streams if s is not None]
        else:
            keys_by_event = self._route_events(batch)
            keys = [
                key
                for event_keys in keys_by_event
                for key in event_keys or ()
                if self._is_mine(key)
            ]
        missing: List[str] = self._documents.find_missing(keys)
        return missing

    def _is_mine(self, key: str) -> bool:
        """Whether a document is to be folded here."""
        return self._share.contains(key) and (self.only_keys is None or key in self.only_keys)

    def route_events(self, batch: EventBatch) -> List[List[str]]:
        """The keys that each event reaches; none where asking for them raises."""
        if not self.is_routed:
            return [[] if s is None else [s] for s in batch.streams_of_events()]
        return [found or [] for found in self._route_events(batch)]

    @property
    def can_merge(self) -> bool:
        """Whether the projection says what two versions of a document come to."""
        return self._projection.merge is not None

    def merge_documents(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:
        """What the projection makes of base, left and right: `state` as JSON text, or an `error`."""
        found: List[Dict[str, Any]] = []
        merge: Any = self._projection.merge
        for base, left, right in versions:
            try:
                state = merge(base, left, right)
                found.append({"state": encoding.encode_exactly(state).decode()})
            except tracebacks.list_failure_types() as error:
                found.append({"error": escape_surrogates(tracebacks.summarize_error(error))})
        return found

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
        """Number the next change so, and those after it in turn."""
        self._next_change = change

    def resume(
        self, key: str, change: int, state: Optional[bytes], parts: Optional[StoredParts] = None
    ) -> None:
        """Take a document up from its JSON or its parts, which a change made; None and None for one
        that was deleted."""
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
        """Take documents up by folding their own events again, without telling of it.

        `changes` has the numbers under which their last changes are known.
        """
        next_change, only = self._next_change, self.only_keys
        self.only_keys = set(keys)
        self.fold(batch)
        self.only_keys = only
        self._next_change = next_change
        for key, change in changes.items():
            self._documents.get_or_create(key).change = change

    def unborn(self, keys: List[str]) -> None:
        """Remember of those keys that aren't held by now that they never had a document."""
        for key in keys:
            self._documents.get_or_create(key)

    def document(self, key: str) -> HeldDocument:
        """A document as it is held here; one that isn't there where nothing is."""
        return self._documents.get_or_create(key)

    def fold(self, batch: EventBatch) -> ResultColumns:
        """Apply a batch's events in order."""
        self._calls.begin_batch(batch)
        self._calls.document_key = None
        self._check_interval = self._documents.check_interval
        result = self._apply_batch(batch)
        if not self.uses_exact_encoding:
            self._documents.check_sample(result.keys)
        return result

    def _apply_batch(self, batch: EventBatch) -> ResultColumns:
        """Any routing, any states, and upcast events."""
        result = ResultColumns()
        projection, share = self._projection, self._share
        skipped: Dict[str, int] = {}
        checks_every_change, refused = self._documents.checks_every_change, self._calls.refusals
        for index, event_keys in enumerate(self._route_events(batch, result)):
            if event_keys is None:
                continue
            self._current_event[0], self._current_event[1] = batch.offset(index), ROUTING_PLACE
            event = self._build_event(batch, index)
            if isinstance(event, Upcast) and share.is_first_share:
                result.add_upcast(event)
            handler = projection.find_handler(event.type)
            if handler is None:
                if self._share.is_first_share:
                    name = str(event.type)
                    skipped[name] = skipped.get(name, 0) + 1
                continue
            for key_place, key in enumerate(event_keys):
                if not self._is_mine(key):
                    continue
                self._current_event[1] = key_place
                if key_place:
                    event = self._build_event(batch, index)
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
                        partial(self._build_event, batch, index),
                    )
                    self._probe.probe_event(key, event, build_fresh_event, before, text, handle)
                if text == encoded:
                    continue
                document.text = text
                if checks_every_change and not encoding.round_trips_json(state):
                    raise LossyEncodingError  # as above
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
        """Number and tell a change of a document."""
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
        """Tell what was raised, and take back what was done to the document's parts."""
        parts: Any = application.document.parts
        self._record_failure(application, error, list(parts.changed), None, None)
        parts.take_back()

    def _wrap_handler(self, handler: Any, key: str) -> Callable[[Any, Any], Any]:
        """What a handler makes of a state; None stands for no document."""

        def handle(state: Any, event: Any) -> Any:
            state = self._projection.initial(key) if state is None else state
            returned = handler(state, event, key)
            if returned is DELETED:
                return None
            return state if returned is None else returned

        return handle

    def _build_event(self, batch: EventBatch, index: int) -> Any:
        event = LazyEvent(batch, index)
        upcast = self._projection.upcast
        return event if upcast is None or event.type == MERGED_EVENT_TYPE else upcast(event)

    def _route_events(
        self, batch: EventBatch, result: Optional[ResultColumns] = None
    ) -> List[Optional[List[str]]]:
        """The keys of each event; None where asking for them raised, which is a failure.

        So is an upcast that raises, or that returns what has no type.
        """
        routes: List[Optional[List[str]]] = []
        self._current_event[1] = ROUTING_PLACE
        self._calls.document_key = None
        for index in range(batch.event_count):
            self._current_event[0] = batch.offset(index)
            try:
                keys = self._projection.keys_of(self._build_event(batch, index))
                if self._calls.refusals:
                    self._calls.raise_first_refusal()
                routes.append(keys)
            except tracebacks.list_failure_types() as error:
                routes.append(None)
                if result is not None and self._share.is_first_share:
                    self._raise_if_fatal(error, None, None)
                    result.add_failure(
                        batch.offset(index), None, LazyEvent(batch, index).type, error
                    )
        return routes

    def _record_failure(
        self,
        application: EventApplication,
        error: BaseException,
        before: Any,
        encoded: Optional[bytes],
        state: Any,
    ) -> None:
        """Tell what was raised, and leave the document as it was `before`."""
        self._raise_if_fatal(error, before, state)
        application.add_failure(error)
        if encoded is not None:
            application.document.state = (
                before if self.uses_exact_encoding else self.decode(encoded)
            )

    def _raise_if_fatal(self, error: BaseException, before: Any, state: Any) -> None:
        """Raise what can't be gone on after; `state` is what a handler left behind."""
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
        """Whether every document comes back from its JSON as it is; None where nobody looked."""
        plain: Optional[bool] = self._documents.all_round_trip_json()
        return plain

    def take_probe_findings(self) -> List[Dict[str, Any]]:
        """What a probe has found."""
        return [] if self._probe is None else self._probe.take_findings()


def describe_runtime() -> str:
    """The interpreter that folds, as a part of a projection's identity."""
    return f"{sys.implementation.name} {sys.version.split()[0]}"


def apply_with_key(handler: Handler, key: str, state: Any, event: Any) -> Any:
    """What a handler that is called with the key makes of a state."""
    return handler(state, event, key)
