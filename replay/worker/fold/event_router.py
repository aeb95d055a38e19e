"""Finds the documents that events reach: builds each event, upcasts it, and calls the user's `key`."""

from __future__ import annotations

from typing import Any, Callable, List, Optional

from ..environment.calls import CallDispatcher
from ..protocol import tracebacks
from ..protocol.constants import MERGED_EVENT_TYPE
from ..protocol.event import EventBatch, LazyEvent
from ..protocol.output_capture import ROUTING_PLACE
from .contract import Projection


class EventRouter:
    """Builds the events of batches, and finds the keys that they reach."""

    def __init__(self, projection: Projection, calls: CallDispatcher, current_event: Any) -> None:
        self._projection = projection
        self._calls = calls
        self._current_event = current_event

    def build_event(self, batch: EventBatch, index: int) -> Any:
        """Return an event of the batch as handlers see it, after its upcast."""
        event = LazyEvent(batch, index)
        upcast = self._projection.upcast
        return event if upcast is None or event.type == MERGED_EVENT_TYPE else upcast(event)

    def route_events(
        self,
        batch: EventBatch,
        on_failure: Optional[Callable[[int, BaseException], None]] = None,
    ) -> List[Optional[List[str]]]:
        """Return the keys of each event; None if its `key` or upcast raised.

        `on_failure` is called with the event's index in the batch and the error.
        """
        routes: List[Optional[List[str]]] = []
        self._current_event[1] = ROUTING_PLACE
        self._calls.document_key = None
        for index in range(batch.event_count):
            self._current_event[0] = batch.offset(index)
            try:
                keys = self._projection.keys_of(self.build_event(batch, index))
                if self._calls.refusals:
                    self._calls.raise_first_refusal()
                routes.append(keys)
            except tracebacks.list_failure_types() as error:
                routes.append(None)
                if on_failure is not None:
                    on_failure(index, error)
        return routes
