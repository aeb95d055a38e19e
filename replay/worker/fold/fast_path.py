"""The fold of the common case: an event's stream is its key, and states are plain.

It gives the same results as `refold_worker.fold.fold_loop`, but looks up once per batch whatever
does not change from event to event: this loop is most of what a fold adds to the handlers' own time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, List, Optional

from ..protocol import encoding
from ..protocol.event import DELETED, Batch, Event
from ..protocol.tracebacks import failing
from .contract import Projection
from .documents import Document, NotPlainError
from .event_application import Visit
from .fold_loop import Folder, given
from .large import LARGE, SAME
from .result import Result


class QuickFolder(Folder):
    """Folds a projection that doesn't route, not carefully, and with nobody who probes."""

    _next_change: int

    def _apply(self, batch: Batch) -> Result:
        result = Result()
        by_key, streams, mark = self._documents.by_key, batch.streams, self._mark
        held: List[Optional[Document]] = [None if s is None else by_key.get(s) for s in streams]
        projection, decode, change = self._projection, self.decode, self._next_change
        directs = [projection.direct(name) for name in batch.types]
        handlers = [projection.handler(name) for name in batch.types]
        encode_into, written = encoding.plain_encoder_into(), bytearray()
        rows, previous, states, keys = result.rows, result.previous, result.states, result.keys
        skipped = [0] * len(batch.types)
        looks, refused = self._documents.looks, self._calls.refused
        initial, index = projection.initial, -1
        large, looks_at = self._large, self._looks_at
        hold, broken = self._hold, self._invariants.broken
        columns = zip(batch.offsets, batch.type_codes, batch.stream_codes, batch.data())
        for mark[0], code, stream, data in columns:
            index += 1
            handle, handler = directs[code], handlers[code]
            if handler is None:
                skipped[code] += 1
                continue
            key = streams[stream]
            if key is None:
                continue
            document = held[stream]
            if document is None:
                document = held[stream] = by_key[key] = Document()
            event = Event()
            event.data, event._batch, event._index = data, batch, index
            if document.parts is not None:
                look = bool(looks_at and change % looks_at == 0)
                handle = handle or partial(given, handler, key)
                try:
                    text = large.apply(document, key, result, event, handle, look=look)
                except NotPlainError:
                    raise
                except failing() as error:
                    self._fail_in_parts(Visit(result, batch, index, key, document), error)
                    continue
                if text is SAME:
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
                        self._calls.raise_refused()
                    if returned is DELETED:
                        state = text = None
                    else:
                        if returned is not None:
                            state = returned
                        encode_into(state, written)
                        text = bytes(written)
                except failing() as error:
                    visit = Visit(result, batch, index, key, document)
                    self._fail(visit, error, document.state, before, state)
                    continue
                document.state = state
                if text == before:
                    continue
                document.text = text
                if looks and not encoding.is_plain(state):
                    raise NotPlainError  # at the end of the batch it may be another state
                if text is not None and len(text) > LARGE:
                    text = large.take_apart(Visit(result, batch, index, key, document))
            previous.append(document.change)
            document.change = change
            change += 1
            rows.append(index)
            states.append(text)
            keys.append(key)
            if hold is not None and (
                document.parts is not None or not hold(state) or key in broken
            ):
                Visit(result, batch, index, key, document).turned(self._invariants)
        self._next_change = change
        result.skipped = {str(batch.types[i]): n for i, n in enumerate(skipped) if n}
        return result


def folder(projection: Projection, *given: Any, careful: bool, **more: Any) -> Folder:
    """What folds a projection as quickly as may be; the arguments are those of `Folder`."""
    common = not (projection.routed or careful or more.get("probe"))
    kind = QuickFolder if common else Folder
    return kind(projection, *given, careful=careful, **more)
