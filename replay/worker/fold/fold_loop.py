"""The fold itself: batches of events in, changed documents out.

A document is changed by an event when its JSON after it differs from its JSON before. A handler
that raises leaves its document as it was. Documents live here; what isn't known yet is asked for.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Set

from ..environment.calls import Calls
from ..protocol import encoding, tracebacks, user_code
from ..protocol.constants import MERGED
from ..protocol.event import DELETED, Batch, Late, Upcast
from ..protocol.printed import ROUTING
from ..protocol.text_limits import carried
from .contract import Handler, Projection
from .documents import Document, Documents, NotPlainError, Share
from .event_application import Visit
from .invariants import Invariants
from .large import LARGE, SAME, Large
from .parts import Kept
from .probes import Probe
from .result import OutOfMemoryError, Result


class Folder:
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
        mark: Any,
        calls: Calls,
        *,
        careful: bool,
        share: Optional[Share] = None,
        probe: Optional[Probe] = None,
    ) -> None:
        self.name = projection.name
        self.routed = projection.routed
        self.declared = {**dict.fromkeys(projection.invariants), **projection.conditions}
        """Its invariants: name to the condition, or to None where it is a function."""
        self.runtime = runtime()
        self.careful = careful
        self.decode = decode
        self._projection = projection
        # What isn't routed was told apart before it came here.
        self._share = share if share and projection.routed else Share()
        self._probe = probe
        self._calls = calls
        self._mark = mark
        self._encode = encoding.encode if careful else encoding.plain_encoder()
        self._parted = probe is None
        """Whether large documents are kept in parts; who tries events on states wants them whole."""
        self._next_change = 0
        self._looks_at = 0
        self.only: Optional[Set[str]] = None
        """The keys that may change, where not all may."""
        self.anew()

    shared = True
    """Whether several can share the documents of a projection that routes."""
    renews = True
    """Whether it can forget its documents and begin anew."""
    restores = False
    """Whether any document comes back from its JSON, whatever it is."""

    @property
    def held(self) -> int:
        """Documents that take room here."""
        return len(self._documents.by_key)

    def cool(self) -> None:
        """Hold what has not changed for long in less room; raises `NotPlainError`."""
        self._documents.cool(self._next_change)

    def files(self) -> List[str]:
        """The code that this projection is made of."""
        found: List[str] = user_code.files()
        return found

    def missing(self, batch: Batch) -> List[str]:
        """Keys that the batch will reach and that aren't held here."""
        if not self.routed:
            keys = [s for s in batch.streams if s is not None]
        else:
            routes = self._routes(batch)
            keys = [key for found in routes for key in found or () if self._mine(key)]
        missing: List[str] = self._documents.missing(keys)
        return missing

    def _mine(self, key: str) -> bool:
        """Whether a document is to be folded here."""
        return self._share.has(key) and (self.only is None or key in self.only)

    def routes(self, batch: Batch) -> List[List[str]]:
        """The keys that each event reaches; none where asking for them raises."""
        if not self.routed:
            return [[] if s is None else [s] for s in batch.streams_of_events()]
        return [found or [] for found in self._routes(batch)]

    @property
    def merges(self) -> bool:
        """Whether the projection says what two versions of a document come to."""
        return self._projection.merge is not None

    def merged(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:
        """What the projection makes of base, left and right: `state` as JSON text, or an `error`."""
        found: List[Dict[str, Any]] = []
        merge: Any = self._projection.merge
        for base, left, right in versions:
            try:
                state = merge(base, left, right)
                found.append({"state": encoding.encode(state).decode()})
            except tracebacks.failing() as error:
                found.append({"error": carried(tracebacks.summary(error))})
        return found

    def anew(self) -> None:
        """Forget every document."""
        self._documents = Documents(self.decode, careful=self.careful)
        self._large = Large(self._encode, self.decode, self._calls, careful=self.careful)
        self._invariants = Invariants(self._projection.invariants)
        self._hold = self._invariants.hold if self._projection.invariants else None
        self.only = None

    def count_from(self, change: int) -> None:
        """Number the next change so, and those after it in turn."""
        self._next_change = change

    def resume(
        self, key: str, change: int, state: Optional[bytes], parts: Optional[Kept] = None
    ) -> None:
        """Take a document up from its JSON or its parts, which a change made; None and None for one
        that was deleted."""
        document = self._documents.at(key)
        document.change = change
        if parts is not None:
            self._large.take_up(document, parts).aside(
                lambda root: self._invariants.turned(key, root)
            )
        elif state is not None:
            document.state, document.text = self.decode(state), state
            self._invariants.turned(key, document.state)

    def refold(self, batch: Batch, keys: List[str], changes: Dict[str, int]) -> None:
        """Take documents up by folding their own events again, without telling of it.

        `changes` has the numbers under which their last changes are known.
        """
        goes_on, only = self._next_change, self.only
        self.only = set(keys)
        self.fold(batch)
        self.only = only
        self._next_change = goes_on
        for key, change in changes.items():
            self._documents.at(key).change = change

    def unborn(self, keys: List[str]) -> None:
        """Remember of those keys that aren't held by now that they never had a document."""
        for key in keys:
            self._documents.at(key)

    def document(self, key: str) -> Document:
        """A document as it is held here; one that isn't there where nothing is."""
        return self._documents.at(key)

    def fold(self, batch: Batch) -> Result:
        """Apply a batch's events in order."""
        self._calls.begin(batch)
        self._calls.key = None
        self._looks_at = self._documents.looks_at
        result = self._apply(batch)
        if not self.careful:
            self._documents.sample(result.keys)
        return result

    def _apply(self, batch: Batch) -> Result:
        """Any routing, any states, and upcast events."""
        result = Result()
        projection, share = self._projection, self._share
        skipped: Dict[str, int] = {}
        looks, refused = self._documents.looks, self._calls.refused
        for index, found in enumerate(self._routes(batch, result)):
            if found is None:
                continue
            self._mark[0], self._mark[1] = batch.offset(index), ROUTING
            event = self._event(batch, index)
            if isinstance(event, Upcast) and share.first:
                result.upcast(event)
            handler = projection.handler(event.type)
            if handler is None:
                if self._share.first:
                    name = str(event.type)
                    skipped[name] = skipped.get(name, 0) + 1
                continue
            for place, key in enumerate(found):
                if not self._mine(key):
                    continue
                self._mark[1] = place
                if place:
                    event = self._event(batch, index)
                self._calls.key = key
                document = self._documents.at(key)
                visit = Visit(result, batch, index, key, document, place)
                visit.routed()
                if document.parts is not None:
                    self._in_parts(visit, event, partial(given, handler, key))
                    continue
                before, encoded = document.state, document.text
                if before is None and encoded is not None:
                    before = self.decode(encoded)
                state: Any = None
                try:
                    state = projection.initial(key) if encoded is None else before
                    if self.careful and encoded is not None:
                        before = deepcopy(state)
                    returned = handler(state, event, key)
                    if refused:
                        self._calls.raise_refused()
                    if returned is DELETED:
                        state = text = None
                    else:
                        state = state if returned is None else returned
                        text = self._encode(state)
                except tracebacks.failing() as error:
                    self._fail(visit, error, before, encoded, state)
                    continue
                document.state = state
                if self._probe is not None:
                    handle, fresh = self._handling(handler, key), partial(self._event, batch, index)
                    self._probe.look(key, event, fresh, before, text, handle)
                if text == encoded:
                    continue
                document.text = text
                if looks and not encoding.is_plain(state):
                    raise NotPlainError  # as above
                if text is not None and len(text) > LARGE and self._parted:
                    text = self._large.take_apart(visit)
                self._change(visit, text)
        result.skipped = skipped
        return result

    def _change(self, visit: Visit, text: Optional[bytes]) -> None:
        """Number and tell a change of a document."""
        visit.changed(text, self._next_change)
        self._next_change += 1
        if self._hold is not None:
            visit.turned(self._invariants)

    def _in_parts(self, visit: Visit, event: Any, handle: Any) -> None:
        """Apply an event to a document that is kept in parts."""
        look = bool(self._looks_at and self._next_change % self._looks_at == 0)
        place = (visit.document, visit.key, visit.result)
        try:
            text = self._large.apply(*place, event, handle, look=look)
        except NotPlainError:
            raise
        except tracebacks.failing() as error:
            self._fail_in_parts(visit, error)
        else:
            if text is not SAME:
                self._change(visit, text)

    def _fail_in_parts(self, visit: Visit, error: BaseException) -> None:
        """Tell what was raised, and take back what was done to the document's parts."""
        parts: Any = visit.document.parts
        self._fail(visit, error, list(parts.changed), None, None)
        parts.take_back()

    def _handling(self, handler: Any, key: str) -> Callable[[Any, Any], Any]:
        """What a handler makes of a state; None stands for no document."""

        def handle(state: Any, event: Any) -> Any:
            state = self._projection.initial(key) if state is None else state
            returned = handler(state, event, key)
            if returned is DELETED:
                return None
            return state if returned is None else returned

        return handle

    def _event(self, batch: Batch, index: int) -> Any:
        event = Late(batch, index)
        upcast = self._projection.upcast
        return event if upcast is None or event.type == MERGED else upcast(event)

    def _routes(self, batch: Batch, result: Optional[Result] = None) -> List[Optional[List[str]]]:
        """The keys of each event; None where asking for them raised, which is a failure.

        So is an upcast that raises, or that returns what has no type.
        """
        routes: List[Optional[List[str]]] = []
        self._mark[1] = ROUTING
        self._calls.key = None
        for index in range(batch.count):
            self._mark[0] = batch.offset(index)
            try:
                keys = self._projection.keys(self._event(batch, index))
                if self._calls.refused:
                    self._calls.raise_refused()
                routes.append(keys)
            except tracebacks.failing() as error:
                routes.append(None)
                if result is not None and self._share.first:
                    self._go_on_after(error, None, None)
                    result.failed(batch.offset(index), None, Late(batch, index).type, error)
        return routes

    def _fail(
        self, visit: Visit, error: BaseException, before: Any, encoded: Optional[bytes], state: Any
    ) -> None:
        """Tell what was raised, and leave the document as it was `before`."""
        self._go_on_after(error, before, state)
        visit.failed(error)
        if encoded is not None:
            visit.document.state = before if self.careful else self.decode(encoded)

    def _go_on_after(self, error: BaseException, before: Any, state: Any) -> None:
        """Raise what can't be gone on after; `state` is what a handler left behind."""
        self._calls.refused.clear()
        if isinstance(error, MemoryError):
            raise OutOfMemoryError from error
        if not self.careful and not (
            encoding.is_plain(state)
            and encoding.is_plain(before)
            and not isinstance(error, UnicodeEncodeError)
        ):
            raise NotPlainError

    def surely_plain(self) -> Optional[bool]:
        """Whether every document comes back from its JSON as it is; None where nobody looked."""
        plain: Optional[bool] = self._documents.surely_plain()
        return plain

    def probed(self) -> List[Dict[str, Any]]:
        """What a probe has found."""
        return [] if self._probe is None else self._probe.taken()


def runtime() -> str:
    """The interpreter that folds, as a part of a projection's identity."""
    return f"{sys.implementation.name} {sys.version.split()[0]}"


def given(handler: Handler, key: str, state: Any, event: Any) -> Any:
    """What a handler that is called with the key makes of a state."""
    return handler(state, event, key)
