"""One event applied to one document: adds the outcome to the columns of the batch's result."""

from __future__ import annotations

from functools import partial
from typing import Optional

from ..protocol.event import EventBatch, LazyEvent
from .documents import HeldDocument
from .invariants import InvariantChecker
from .result import ResultColumns


class EventApplication:
    """An event of a batch, and a document that it reaches."""

    __slots__ = ("batch", "document", "index", "key", "place", "result")

    def __init__(
        self,
        result: ResultColumns,
        batch: EventBatch,
        index: int,
        key: str,
        document: HeldDocument,
        place: int = 0,
    ) -> None:
        """`index` is the event's in its batch, `place` the key's among the event's keys."""
        self.result = result
        self.batch = batch
        self.index = index
        self.key = key
        self.document = document
        self.place = place

    @property
    def offset(self) -> int:
        """The offset of the event."""
        offset: int = self.batch.offset(self.index)
        return offset

    def add_route(self) -> None:
        """Record that the event reaches the document."""
        self.result.route_rows.append(self.index)
        self.result.route_keys.append(self.key)
        self.result.route_places.append(self.place)

    def add_change(self, text: Optional[bytes], change: int) -> None:
        """Record a change: the document's JSON after the event, and the number of the change."""
        result, document = self.result, self.document
        result.previous_changes.append(document.change)
        document.change = change
        result.event_rows.append(self.index)
        result.key_places.append(self.place)
        result.states.append(text)
        result.keys.append(self.key)

    def add_invariant_transitions(self, invariants: InvariantChecker) -> None:
        """Record which invariants the new state begins to break, or holds again."""
        document = self.document
        update_invariants = partial(
            invariants.update, self.key, is_existing=document.text is not None
        )
        parts = document.parts
        for transition in (
            update_invariants(document.state)
            if parts is None
            else parts.query_untracked(update_invariants)
        ):
            self.result.invariant_transitions.append({"offset": self.offset, **transition})

    def add_failure(self, error: BaseException) -> None:
        """Record what the handler raised."""
        kind = LazyEvent(self.batch, self.index).type
        self.result.add_failure(self.offset, self.key, kind, error)
