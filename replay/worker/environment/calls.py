"""Calls to the outside, of the event that is being handled: answered from what came with its batch,
or asked of the parent, which alone decides.

What came with a batch has no secrets and is plain; a call that matches it to the letter, and is the
next of its kind, needs nobody to decide. A call belongs to the event that was handled when its
thread was started.
"""

from __future__ import annotations

import contextvars
import json
import threading
from array import array
from bisect import bisect_left
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from ..protocol.output_capture import ROUTING_PLACE
from ..protocol.text_limits import escape_surrogates
from . import blocked_attempts
from .gateway_errors import CallFailedError, CallTimeoutError, GatewayError
from .import_hooks import patch_when_imported

try:
    import msgspec
except ImportError:  # the user's interpreter need not have it
    msgspec = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from ..protocol.channel import ParentChannel
    from ..protocol.event import EventBatch

EventKey = Tuple[int, Optional[str]]
"""An event's offset, and the document that it is handled for."""

_SUPPRESSED = 1
_MAX_BLOCKED = 10_000
"""Blocked attempts that are told of one batch."""


class CallReply:
    """What came back for a call."""

    __slots__ = ("body", "error", "headers", "outcome", "status")

    def __init__(self, header: Dict[str, Any], body: bytes) -> None:
        self.outcome: str = header["outcome"]
        self.error: Optional[str] = header["error"]
        self.status: Optional[int] = header["status"]
        self.headers: List[Tuple[str, str]] = [(n, v) for n, v in header["headers"]]
        self.body = body


class CallColumns:
    """What became of the calls of a batch."""

    def __init__(self) -> None:
        self.event_rows = array("i")
        """For each call that was answered from a recording, the index of its event."""
        self.ordinals = array("i")
        """Its place among the calls of its event."""
        self.recording_numbers = array("q")
        """The recording's number."""
        self.command_flags = array("b")
        """Whether it was a command, which was not sent."""
        self.keys: List[Optional[str]] = []
        self.call_decisions: List[Dict[str, Any]] = []
        """Every other, with what the parent said of it."""


class CallDispatcher:
    """What handlers ask of the outside, in whatever thread."""

    def __init__(self, current_event: Any, channel: "ParentChannel") -> None:
        """`mark` holds the offset of the event that is being handled."""
        self._current_event = current_event
        self._channel = channel
        self._thread_event: "contextvars.ContextVar[Optional[EventKey]]" = contextvars.ContextVar(
            "refold_event", default=None
        )
        self._lock = threading.RLock()
        self.batch: Optional[EventBatch] = None
        """That of the event that is being handled."""
        self._answers: Dict[int, List[Any]] = {}
        self._occurrences: Dict[Any, int] = {}
        self._ordinal = 0
        self._counted_event: EventKey = (-1, None)
        self._encode = _build_request_encoder()
        self._columns = CallColumns()
        self.document_key: Optional[str] = None
        """The document that the event is handled for, where that isn't its stream."""
        self.refusals: List[GatewayError] = []
        """What was not answered while the event was handled; whoever swallows it fails all the same."""

    def begin_batch(self, batch: "EventBatch") -> None:
        """From now on, events of this batch are handled."""
        self.batch = batch
        self._answers = batch.recorded_answers()
        self._counted_event = (-1, None)

    def take_columns(self) -> CallColumns:
        """What became of calls since the last time."""
        with self._lock:
            columns, self._columns = self._columns, CallColumns()
        return columns

    def raise_first_refusal(self) -> None:
        """Raise what was not answered, as its handler hid it."""
        error = self.refusals[0]
        self.refusals.clear()
        raise error

    @property
    def is_routing(self) -> bool:
        """Whether an event's keys are being asked for."""
        return bool(self._current_event[1] == ROUTING_PLACE)

    def current_event_key(self) -> EventKey:
        """The event that this thread works for, and its document."""
        return self._thread_event.get() or self._handled_event_key()

    def _handled_event_key(self) -> EventKey:
        offset = self._current_event[0]
        if self.batch is None or offset < 0:
            return (-1, None)
        key = self.document_key
        return offset, self.batch.stream_of(offset) if key is None else key

    def follow_threads(self) -> None:
        """Let threads belong to the event in which they were started, and work to that which gave it."""
        start, calls = threading.Thread.start, self

        def started(thread: Any) -> None:
            thread.run = calls.bind_to_event(thread.run)
            start(thread)

        threading.Thread.start = started  # type: ignore[method-assign, assignment]
        patch_when_imported({"concurrent.futures.thread": self._follow_pools})

    def _follow_pools(self, module: Any) -> None:
        pools, calls = module.ThreadPoolExecutor, self
        submit = pools.submit

        def submitted(pool: Any, function: Any, /, *args: Any, **named: Any) -> Any:
            return submit(pool, calls.bind_to_event(function), *args, **named)

        pools.submit = submitted

    def bind_to_event(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, to be run for the event that is being handled now."""
        event_key = self.current_event_key()

        def run(*args: Any, **named: Any) -> Any:
            token = self._thread_event.set(event_key)
            try:
                return function(*args, **named)
            finally:
                self._thread_event.reset(token)

        return run

    def call_gateway(self, kind: str, port: str, operation: str, request: Any) -> Any:
        """A call of the gateway's: its answer, a JSON value."""
        try:
            text = self._encode(request)
            if "null" in text:
                json.dumps(request, allow_nan=False, default=str)  # NaN is no null
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(
                f"the request of {port}.{operation} can't be written as JSON: {error}"
            ) from None
        with self._lock:
            offset, key = self._enter_event(port, operation)
            occurrence = self._count_occurrence((port, operation, text))
            found = self._find_answer(offset, key, port, operation, text, occurrence)
            if found is not None:
                return found[0]
            asked = {"call": kind, "port": str(port), "operation": str(operation)}
            reply = self._ask_parent(
                {**asked, "occurrence": occurrence}, offset, key, text.encode()
            )
        self._raise_for_outcome(reply)
        return json.loads(reply.body) if reply.body else None

    def call_http(
        self,
        method: str,
        url: str,
        headers: List[Tuple[str, str]],
        body: bytes,
        timeout: Optional[float] = None,
    ) -> CallReply:
        """A call of an HTTP client's, which would wait for `timeout` seconds. A failure is in the
        reply; raises `GatewayError`."""
        with self._lock:
            offset, key = self._enter_event(method, url)
            occurrence = self._count_occurrence((method, url, body))
            asked: Dict[str, Any] = {"call": None, "method": method, "url": url}
            asked.update(headers=headers, timeout=timeout)
            return self._ask_parent({**asked, "occurrence": occurrence}, offset, key, body)

    def find_recorded(self, port: str, operation: str) -> Optional[List[Any]]:
        """The next answer that came for what isn't asked of the outside, such as the time."""
        if not self._answers:
            return None
        with self._lock:
            offset, key = event_key = self.current_event_key()
            self._reset_counts_for(event_key)
            occurrence = self._count_occurrence((port, operation, "null"))
            return self._find_answer(offset, key, port, operation, "null", occurrence)

    def record_blocked(self, event: str, request: Any, stack: str) -> None:
        """Note an attempt to get out by another way."""
        with self._lock:
            if len(self._columns.call_decisions) >= _MAX_BLOCKED:
                return
            offset, key = event_key = self.current_event_key()
            self._reset_counts_for(event_key)
            name = None if key is None else escape_surrogates(key)
            decision = blocked_attempts.build_blocked_decision(
                offset, name, self._next_ordinal(), event, request, escape_surrogates(stack)
            )
            self._columns.call_decisions.append(decision)

    def _enter_event(self, port: str, operation: str) -> EventKey:
        """The event of a call; raises `GatewayError` where it has none any more."""
        event_key = self.current_event_key()
        offset = event_key[0]
        if offset < 0:
            raise self._record_refusal(f"{port} {operation} was called while no event is handled")
        if event_key != self._handled_event_key():
            raise GatewayError(f"{port} {operation} was called after its event, at offset {offset}")
        self._reset_counts_for(event_key)
        return event_key

    def _reset_counts_for(self, event_key: EventKey) -> None:
        """Count anew for another event, or for another document of it."""
        if event_key != self._counted_event:
            self._counted_event, self._occurrences, self._ordinal = event_key, {}, 0

    def _record_refusal(self, message: str) -> GatewayError:
        error = GatewayError(message)
        self.refusals.append(error)
        return error

    def _count_occurrence(self, call: Any) -> int:
        """How often the same was asked before at this event."""
        count = self._occurrences.get(call, 0)
        self._occurrences[call] = count + 1
        return count

    def _next_ordinal(self) -> int:
        self._ordinal += 1
        return self._ordinal - 1

    def _find_answer(
        self, offset: int, key: Optional[str], port: str, operation: str, text: str, occurrence: int
    ) -> Optional[List[Any]]:
        """The answer that came with the batch, in a list; None where the parent must be asked."""
        for entry in self._answers.get(offset, ()):
            answer_key, answer_port, answer_operation, answer_request, value, number, command = (
                entry
            )
            if (
                answer_port == port
                and answer_operation == operation
                and answer_request == text
                and answer_key in (None, key)
            ):
                if occurrence:
                    occurrence -= 1
                    continue
                if self.batch is not None:
                    self._record_call(offset, key, number, _SUPPRESSED if command else 0)
                return [deepcopy(value) if answer_key is None else value]
        return None

    def _record_call(self, offset: int, key: Optional[str], number: int, code: int) -> None:
        columns = self._columns
        columns.event_rows.append(bisect_left(self.batch.offsets, offset))  # type: ignore[union-attr]
        columns.ordinals.append(self._next_ordinal())
        columns.recording_numbers.append(number)
        columns.command_flags.append(code)
        columns.keys.append(key)

    def _ask_parent(
        self, request_fields: Dict[str, Any], offset: int, key: Optional[str], body: bytes
    ) -> CallReply:
        event_id = self.batch.id_of(offset) if self.batch is not None else None
        event_fields = {"offset": offset, "key": key, "event_id": event_id}
        header, parts = self._channel.request(
            {"kind": "call", **event_fields, **request_fields}, (body,)
        )
        decision = header["told"]
        if decision is None:
            self._record_call(offset, key, header["number"], header["code"])
        else:
            self._columns.call_decisions.append(
                {"offset": offset, "key": key, "ordinal": self._next_ordinal(), **decision}
            )
        if header["outcome"] is None:
            raise self._record_refusal(header["error"])
        return CallReply(header, parts[0])

    def _raise_for_outcome(self, reply: CallReply) -> None:
        if reply.outcome == "timeout":
            raise CallTimeoutError(reply.error)
        if reply.outcome != "ok":
            raise CallFailedError(reply.error)


def _build_request_encoder() -> Callable[[Any], str]:
    """What writes a request so that the same is written the same."""
    if msgspec is not None:
        encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
        return lambda request: encode(request).decode()
    return lambda request: json.dumps(
        request,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=str,
    )
