"""Calls to the outside by the event being handled: answered from its batch or by the parent.

A batch brings recorded answers that contain no secrets and round-trip through JSON. A call that
matches the next recorded answer exactly gets it at once; the parent decides every other call. A call
belongs to the event that was handled when its thread was started.
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
except ImportError:  # optional in the user's interpreter
    msgspec = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from ..protocol.channel import ParentChannel
    from ..protocol.event import EventBatch

EventKey = Tuple[int, Optional[str]]
"""An event's offset, and the key of the document that it is handled for."""

_SUPPRESSED = 1
_MAX_BLOCKED = 10_000
"""Maximum number of call decisions in one batch, after which blocked attempts are dropped."""


class CallReply:
    """The reply to a call."""

    __slots__ = ("body", "error", "headers", "outcome", "status")

    def __init__(self, header: Dict[str, Any], body: bytes) -> None:
        self.outcome: str = header["outcome"]
        self.error: Optional[str] = header["error"]
        self.status: Optional[int] = header["status"]
        self.headers: List[Tuple[str, str]] = [(n, v) for n, v in header["headers"]]
        self.body = body


class CallColumns:
    """The outcomes of a batch's calls, in columns."""

    def __init__(self) -> None:
        self.event_rows = array("i")
        """For each call that was answered from a recording, the index of its event in the batch."""
        self.ordinals = array("i")
        """Its index among the calls of its event."""
        self.recording_numbers = array("q")
        """The number of the recording."""
        self.command_flags = array("b")
        """1 for a command, which was not sent; 0 for a query."""
        self.keys: List[Optional[str]] = []
        self.call_decisions: List[Dict[str, Any]] = []
        """Every other call, with the parent's decision."""


class CallDispatcher:
    """Answers the calls of handlers to the outside, from any thread."""

    def __init__(self, current_event: Any, channel: "ParentChannel") -> None:
        """`current_event` holds the offset of the event that is being handled."""
        self._current_event = current_event
        self._channel = channel
        self._thread_event: "contextvars.ContextVar[Optional[EventKey]]" = contextvars.ContextVar(
            "refold_event", default=None
        )
        self._lock = threading.RLock()
        self.batch: Optional[EventBatch] = None
        """The batch of the event that is being handled."""
        self._answers: Dict[int, List[Any]] = {}
        self._occurrences: Dict[Any, int] = {}
        self._ordinal = 0
        self._counted_event: EventKey = (-1, None)
        self._encode = _build_request_encoder()
        self._columns = CallColumns()
        self.document_key: Optional[str] = None
        """Key of the document that the event is handled for; None if it is the event's stream."""
        self.refusals: List[GatewayError] = []
        """Calls of this event that got no answer; the event fails even if its handler catches them."""

    def begin_batch(self, batch: "EventBatch") -> None:
        """Make a batch the one whose events are handled."""
        self.batch = batch
        self._answers = batch.recorded_answers()
        self._counted_event = (-1, None)

    def take_columns(self) -> CallColumns:
        """Return the outcomes of calls since the last time, and start new columns."""
        with self._lock:
            columns, self._columns = self._columns, CallColumns()
        return columns

    def raise_first_refusal(self) -> None:
        """Raise the first refused call, because the handler caught its error."""
        error = self.refusals[0]
        self.refusals.clear()
        raise error

    @property
    def is_routing(self) -> bool:
        """Whether an event's keys are being computed."""
        return bool(self._current_event[1] == ROUTING_PLACE)

    def current_event_key(self) -> EventKey:
        """Return the event that this thread works for, and its document's key."""
        return self._thread_event.get() or self._handled_event_key()

    def _handled_event_key(self) -> EventKey:
        offset = self._current_event[0]
        if self.batch is None or offset < 0:
            return (-1, None)
        key = self.document_key
        return offset, self.batch.stream_of(offset) if key is None else key

    def follow_threads(self) -> None:
        """Bind every new thread, and work given to a thread pool, to the event that started it."""
        start, calls = threading.Thread.start, self

        def start_bound(thread: Any) -> None:
            thread.run = calls.bind_to_event(thread.run)
            start(thread)

        threading.Thread.start = start_bound  # type: ignore[method-assign, assignment]
        patch_when_imported({"concurrent.futures.thread": self._follow_pools})

    def _follow_pools(self, module: Any) -> None:
        pools, calls = module.ThreadPoolExecutor, self
        submit = pools.submit

        def submit_bound(pool: Any, function: Any, /, *args: Any, **named: Any) -> Any:
            return submit(pool, calls.bind_to_event(function), *args, **named)

        pools.submit = submit_bound

    def bind_to_event(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function bound to the event that is being handled now."""
        event_key = self.current_event_key()

        def run(*args: Any, **named: Any) -> Any:
            token = self._thread_event.set(event_key)
            try:
                return function(*args, **named)
            finally:
                self._thread_event.reset(token)

        return run

    def call_gateway(self, kind: str, port: str, operation: str, request: Any) -> Any:
        """Make a call through the gateway and return its answer, a JSON value.

        Raises TypeError if the request isn't JSON, `GatewayError` if nothing answers the call, and
        `CallFailedError` or `CallTimeoutError` if the call failed.
        """
        try:
            text = self._encode(request)
            if "null" in text:
                json.dumps(request, allow_nan=False, default=str)  # msgspec writes NaN as null
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(
                f"the request of {port}.{operation} can't be encoded as JSON: {error}"
            ) from None
        with self._lock:
            offset, key = self._enter_event(port, operation)
            occurrence = self._count_occurrence((port, operation, text))
            answer = self._find_answer(offset, key, port, operation, text, occurrence)
            if answer is not None:
                return answer[0]
            request_fields = {"call": kind, "port": str(port), "operation": str(operation)}
            reply = self._ask_parent(
                {**request_fields, "occurrence": occurrence}, offset, key, text.encode()
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
        """Make the call of an HTTP client, which would wait for `timeout` seconds; return the reply.

        The reply also says whether the call failed. Raises `GatewayError` if nothing answers it.
        """
        with self._lock:
            offset, key = self._enter_event(method, url)
            occurrence = self._count_occurrence((method, url, body))
            request_fields: Dict[str, Any] = {"call": None, "method": method, "url": url}
            request_fields.update(headers=headers, timeout=timeout, occurrence=occurrence)
            return self._ask_parent(request_fields, offset, key, body)

    def find_recorded(self, port: str, operation: str) -> Optional[List[Any]]:
        """Return the next recorded value of a clock, id or random number, in a list; None without one."""
        if not self._answers:
            return None
        with self._lock:
            offset, key = event_key = self.current_event_key()
            self._reset_counts_for(event_key)
            occurrence = self._count_occurrence((port, operation, "null"))
            return self._find_answer(offset, key, port, operation, "null", occurrence)

    def record_blocked(self, event: str, request: Any, stack: str) -> None:
        """Record a blocked attempt to reach the outside without the gateway."""
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
        """Return the event of a call; raises `GatewayError` if none is handled or it has ended."""
        event_key = self.current_event_key()
        offset = event_key[0]
        if offset < 0:
            raise self._record_refusal(f"{port} {operation} was called while no event was handled")
        if event_key != self._handled_event_key():
            raise GatewayError(f"{port} {operation} was called after its event, at offset {offset}")
        self._reset_counts_for(event_key)
        return event_key

    def _reset_counts_for(self, event_key: EventKey) -> None:
        """Reset the counts at another event, or another document of the same event."""
        if event_key != self._counted_event:
            self._counted_event, self._occurrences, self._ordinal = event_key, {}, 0

    def _record_refusal(self, message: str) -> GatewayError:
        error = GatewayError(message)
        self.refusals.append(error)
        return error

    def _count_occurrence(self, call: Any) -> int:
        """Return how often this event made the same call before, and count it."""
        count = self._occurrences.get(call, 0)
        self._occurrences[call] = count + 1
        return count

    def _next_ordinal(self) -> int:
        self._ordinal += 1
        return self._ordinal - 1

    def _find_answer(
        self, offset: int, key: Optional[str], port: str, operation: str, text: str, occurrence: int
    ) -> Optional[List[Any]]:
        """Return the answer from the batch in a list; None if the parent must decide."""
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
    """Return an encoder that writes equal requests as the same text."""
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
