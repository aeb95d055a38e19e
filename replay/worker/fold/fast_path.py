"""The fold of the common case: an event's stream is its key, and states round-trip through JSON.

It gives the same results as `fold_loop`, but looks up once per batch whatever doesn't change from
event to event, because this loop is most of what a fold adds to the handlers' own time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, List, Optional

from ..protocol import encoding
from ..protocol.event import DELETED, Event, EventBatch
from ..protocol.tracebacks import list_failure_types
from .contract import Projection
from .documents import HeldDocument, LossyEncodingError
from .event_application import EventApplication
from .fold_loop import PythonFoldEngine, apply_with_key
from .large_document import LARGE_DOCUMENT_BYTES, UNCHANGED_STATE
from .result import ResultColumns


class FastFoldEngine(PythonFoldEngine):
    """Folds a projection that is not routed, without exact encoding and without a probe."""

    _next_change: int

    def _apply_batch(self, batch: EventBatch) -> ResultColumns:
        result = ResultColumns()
        by_key, streams, current_event = self._documents.by_key, batch.streams, self._current_event
        documents_by_stream: List[Optional[HeldDocument]] = [
            None if s is None else by_key.get(s) for s in streams
        ]
        projection, decode, change = self._projection, self.decode, self._next_change
        direct_handlers = [projection.find_direct_handler(name) for name in batch.types]
        handlers = [projection.find_handler(name) for name in batch.types]
        encode_into, buffer = encoding.build_plain_encoder_into(), bytearray()
        rows, previous, states, keys = (
            result.event_rows,
            result.previous_changes,
            result.states,
            result.keys,
        )
        skipped = [0] * len(batch.types)
        checks_every_change, refused = self._documents.checks_every_change, self._calls.refusals
        initial, index = projection.initial, -1
        large_documents, check_interval = self._large_documents, self._check_interval
        all_hold, broken = self._all_hold, self._invariants.broken_by_key
        columns = zip(batch.offsets, batch.type_codes, batch.stream_codes, batch.data())
        for current_event[0], code, stream, data in columns:
            index += 1
            handle, handler = direct_handlers[code], handlers[code]
            if handler is None:
                skipped[code] += 1
                continue
            key = streams[stream]
            if key is None:
                continue
            document = documents_by_stream[stream]
            if document is None:
                document = documents_by_stream[stream] = by_key[key] = HeldDocument()
            event = Event()
            event.data, event._batch, event._index = data, batch, index
            if document.parts is not None:
                is_checked = bool(check_interval and change % check_interval == 0)
                handle = handle or partial(apply_with_key, handler, key)
                try:
                    text = large_documents.apply_event(
                        document, key, result, event, handle, is_checked=is_checked
                    )
                except LossyEncodingError:
                    raise
                except list_failure_types() as error:
                    self._record_failure_in_parts(
                        EventApplication(result, batch, index, key, document), error
                    )
                    continue
                if text is UNCHANGED_STATE:
                    continue
                state = document.state
            else:
                before = document.text
                state = document.state
                try:
                    if before is None:
                        state = initial(key)
                    elif state is None:
                        state = decode(before)
                    returned = handle(state, event) if handle else handler(state, event, key)
                    if refused:
                        self._calls.raise_first_refusal()
                    if returned is DELETED:
                        state = text = None
                    else:
                        if returned is not None:
                            state = returned
                        encode_into(state, buffer)
                        text = bytes(buffer)
                except list_failure_types() as error:
                    application = EventApplication(result, batch, index, key, document)
                    self._record_failure(application, error, document.state, before, state)
                    continue
                document.state = state
                if text == before:
                    continue
                document.text = text
                if checks_every_change and not encoding.round_trips_json(state):
                    raise LossyEncodingError  # check now: a later event may change it
                if text is not None and len(text) > LARGE_DOCUMENT_BYTES:
                    text = large_documents.split_document(
                        EventApplication(result, batch, index, key, document)
                    )
            previous.append(document.change)
            document.change = change
            change += 1
            rows.append(index)
            states.append(text)
            keys.append(key)
            if all_hold is not None and (
                document.parts is not None or not all_hold(state) or key in broken
            ):
                EventApplication(result, batch, index, key, document).add_invariant_transitions(
                    self._invariants
                )
        self._next_change = change
        result.unhandled_by_type = {str(batch.types[i]): n for i, n in enumerate(skipped) if n}
        return result


def build_fold_engine(
    projection: Projection, *positional: Any, careful: bool, **options: Any
) -> PythonFoldEngine:
    """Return the fastest engine for a projection; the arguments are those of `PythonFoldEngine`."""
    is_common_case = not (projection.is_routed or careful or options.get("probe"))
    engine_type = FastFoldEngine if is_common_case else PythonFoldEngine
    return engine_type(projection, *positional, careful=careful, **options)
