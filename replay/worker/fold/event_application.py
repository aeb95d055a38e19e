"""One event at one document: what becomes of it is told here, in the columns of its batch's result."""

from __future__ import annotations

from functools import partial
from typing import Optional

from ..protocol.event import Batch, Late
from .documents import Document
from .invariants import Invariants
from .result import Result


class Visit:
    """An event of a batch, and a document that it reaches."""

    __slots__ = ("batch", "document", "index", "key", "place", "result")

    def __init__(
        self,
        result: Result,
        batch: Batch,
        index: int,
        key: str,
        document: Document,
        place: int = 0,
    ) -> None:
        """`place` is that of the key among those of its event."""
        self.result = result
        self.batch = batch
        self.index = index
        self.key = key
        self.document = document
        self.place = place

    @property
    def offset(self) -> int:
        """The event's."""
        offset: int = self.batch.offset(self.index)
        return offset

    def routed(self) -> None:
        """Tell that the event reaches the document."""
        self.result.route_rows.append(self.index)
        self.result.route_keys.append(self.key)
        self.result.route_places.append(self.place)

    def changed(self, text: Optional[bytes], change: int) -> None:
        """Tell that it made this of the document, which is the change of that number."""
        result, document = self.result, self.document
        result.previous.append(document.change)
        document.change = change
        result.rows.append(self.index)
        result.places.append(self.place)
        result.states.append(text)
        result.keys.append(self.key)

    def turned(self, invariants: Invariants) -> None:
        """Tell which invariants have turned with the document's new state."""
        document = self.document
        turned = partial(invariants.turned, self.key, there=document.text is not None)
        parts = document.parts
        for turn in turned(document.state) if parts is None else parts.aside(turned):
            self.result.turns.append({"offset": self.offset, **turn})

    def failed(self, error: BaseException) -> None:
        """Tell what was raised."""
        kind = Late(self.batch, self.index).type
        self.result.failed(self.offset, self.key, kind, error)
