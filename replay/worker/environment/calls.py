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

from ..protocol.printed import ROUTING
from ..protocol.text_limits import carried
from . import blocked_attempts
from .gateway_errors import CallFailedError, CallTimeoutError, GatewayError
from .import_hooks import when_imported

try:
    import msgspec
except ImportError:  # the user's interpreter need not have it
    msgspec = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from ..protocol.channel import Line
    from ..protocol.event import Batch

Place = Tuple[int, Optional[str]]
"""An event's offset, and the document that it is handled for."""

_SUPPRESSED = 1
_MOST_TOLD = 10_000
"""Blocked attempts that are told of one batch."""


class Reply:
    """What came back for a call."""

    __slots__ = ("body", "error", "headers", "outcome", "status")

    def __init__(self, header: Dict[str, Any], body: bytes) -> None:
        self.outcome: str = header["outcome"]
        self.error: Optional[str] = header["error"]
        self.status: Optional[int] = header["status"]
        self.headers: List[Tuple[str, str]] = [(n, v) for n, v in header["headers"]]
        self.body = body


class Told:
    """What became of the calls of a batch."""

    def __init__(self) -> None:
        self.rows = array("i")
        """For each call that was answered from a recording, the index of its event."""
        self.ordinals = array("i")
        """Its place among the calls of its event."""
        self.numbers = array("q")
        """The recording's number."""
        self.codes = array("b")
        """Whether it was a command, which was not sent."""
        self.keys: List[Optional[str]] = []
        self.decided: List[Dict[str, Any]] = []
        """Every other, with what the parent said of it."""


class Calls:
    """What handlers ask of the outside, in whatever thread."""

    def __init__(self, mark: Any, line: "Line") -> None:
        """`mark` holds the offset of the event that is being handled."""
        self._mark = mark
        self._line = line
        self._own: "contextvars.ContextVar[Optional[Place]]" = contextvars.ContextVar(
            "refold_event", default=None
        )
        self._lock = threading.RLock()
        self.batch: Optional[Batch] = None
        """That of the event that is being handled."""
        self._answers: Dict[int, List[Any]] = {}
        self._asked: Dict[Any, int] = {}
        self._ordinal = 0
        self._at: Place = (-1, None)
        self._encode = _encoder()
        self._told = Told()
        self.key: Optional[str] = None
        """The document that the event is handled for, where that isn't its stream."""
        self.refused: List[GatewayError] = []
        """What was not answered while the event was handled; whoever swallows it fails all the same."""

    def begin(self, batch: "Batch") -> None:
        """From now on, events of this batch are handled."""
        self.batch = batch
        self._answers = batch.answers()
        self._at = (-1, None)

    def taken(self) -> Told:
        """What became of calls since the last time."""
        with self._lock:
            told, self._told = self._told, Told()
        return told

    def raise_refused(self) -> None:
        """Raise what was not answered, as its handler hid it."""
        error = self.refused[0]
        self.refused.clear()
        raise error

    @property
    def routing(self) -> bool:
        """Whether an event's keys are being asked for."""
        return bool(self._mark[1] == ROUTING)

    def place(self) -> Place:
        """The event that this thread works for, and its document."""
        return self._own.get() or self._current()

    def _current(self) -> Place:
        offset = self._mark[0]
        if self.batch is None or offset < 0:
            return (-1, None)
        key = self.key
        return offset, self.batch.stream_of(offset) if key is None else key

    def follow_threads(self) -> None:
        """Let threads belong to the event in which they were started, and work to that which gave it."""
        start, calls = threading.Thread.start, self

        def started(thread: Any) -> None:
            thread.run = calls.of_event(thread.run)
            start(thread)

        threading.Thread.start = started  # type: ignore[method-assign, assignment]
        when_imported({"concurrent.futures.thread": self._follow_pools})

    def _follow_pools(self, module: Any) -> None:
        pools, calls = module.ThreadPoolExecutor, self
        submit = pools.submit

        def submitted(pool: Any, function: Any, /, *args: Any, **named: Any) -> Any:
            return submit(pool, calls.of_event(function), *args, **named)

        pools.submit = submitted

    def of_event(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, to be run for the event that is being handled now."""
        place = self.place()

        def run(*args: Any, **named: Any) -> Any:
            token = self._own.set(place)
            try:
                return function(*args, **named)
            finally:
                self._own.reset(token)

        return run

    def make(self, kind: str, port: str, operation: str, request: Any) -> Any:
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
            offset, key = self._enter(port, operation)
            again = self._again((port, operation, text))
            found = self._at_hand(offset, key, port, operation, text, again)
            if found is not None:
                return found[0]
            asked = {"call": kind, "port": str(port), "operation": str(operation)}
            reply = self._ask({**asked, "occurrence": again}, offset, key, text.encode())
        self._raise(reply)
        return json.loads(reply.body) if reply.body else None

    def http(
        self,
        method: str,
        url: str,
        headers: List[Tuple[str, str]],
        body: bytes,
        timeout: Optional[float] = None,
    ) -> Reply:
        """A call of an HTTP client's, which would wait for `timeout` seconds. A failure is in the
        reply; raises `GatewayError`."""
        with self._lock:
            offset, key = self._enter(method, url)
            again = self._again((method, url, body))
            asked: Dict[str, Any] = {"call": None, "method": method, "url": url}
            asked.update(headers=headers, timeout=timeout)
            return self._ask({**asked, "occurrence": again}, offset, key, body)

    def recorded(self, port: str, operation: str) -> Optional[List[Any]]:
        """The next answer that came for what isn't asked of the outside, such as the time."""
        if not self._answers:
            return None
        with self._lock:
            offset, key = own = self.place()
            self._stand_at(own)
            again = self._again((port, operation, "null"))
            return self._at_hand(offset, key, port, operation, "null", again)

    def blocked(self, what: str, request: Any, stack: str) -> None:
        """Note an attempt to get out by another way."""
        with self._lock:
            if len(self._told.decided) >= _MOST_TOLD:
                return
            offset, key = own = self.place()
            self._stand_at(own)
            name = None if key is None else carried(key)
            told = blocked_attempts.told(offset, name, self._next(), what, request, carried(stack))
            self._told.decided.append(told)

    def _enter(self, port: str, operation: str) -> Place:
        """The event of a call; raises `GatewayError` where it has none any more."""
        own = self.place()
        offset = own[0]
        if offset < 0:
            raise self._refuse(f"{port} {operation} was called while no event is handled")
        if own != self._current():
            raise GatewayError(f"{port} {operation} was called after its event, at offset {offset}")
        self._stand_at(own)
        return own

    def _stand_at(self, own: Place) -> None:
        """Count anew for another event, or for another document of it."""
        if own != self._at:
            self._at, self._asked, self._ordinal = own, {}, 0

    def _refuse(self, message: str) -> GatewayError:
        error = GatewayError(message)
        self.refused.append(error)
        return error

    def _again(self, call: Any) -> int:
        """How often the same was asked before at this event."""
        count = self._asked.get(call, 0)
        self._asked[call] = count + 1
        return count

    def _next(self) -> int:
        self._ordinal += 1
        return self._ordinal - 1

    def _at_hand(
        self, offset: int, key: Optional[str], port: str, operation: str, text: str, again: int
    ) -> Optional[List[Any]]:
        """The answer that came with the batch, in a list; None where the parent must be asked."""
        for entry in self._answers.get(offset, ()):
            kept, named, doing, asked, value, number, command = entry
            if named == port and doing == operation and asked == text and kept in (None, key):
                if again:
                    again -= 1
                    continue
                if self.batch is not None:
                    self._tell(offset, key, number, _SUPPRESSED if command else 0)
                return [deepcopy(value) if kept is None else value]
        return None

    def _tell(self, offset: int, key: Optional[str], number: int, code: int) -> None:
        told = self._told
        told.rows.append(bisect_left(self.batch.offsets, offset))  # type: ignore[union-attr]
        told.ordinals.append(self._next())
        told.numbers.append(number)
        told.codes.append(code)
        told.keys.append(key)

    def _ask(self, asked: Dict[str, Any], offset: int, key: Optional[str], body: bytes) -> Reply:
        event_id = self.batch.id_of(offset) if self.batch is not None else None
        place = {"offset": offset, "key": key, "event_id": event_id}
        header, parts = self._line.ask({"kind": "call", **place, **asked}, (body,))
        told = header["told"]
        if told is None:
            self._tell(offset, key, header["number"], header["code"])
        else:
            self._told.decided.append(
                {"offset": offset, "key": key, "ordinal": self._next(), **told}
            )
        if header["outcome"] is None:
            raise self._refuse(header["error"])
        return Reply(header, parts[0])

    def _raise(self, reply: Reply) -> None:
        if reply.outcome == "timeout":
            raise CallTimeoutError(reply.error)
        if reply.outcome != "ok":
            raise CallFailedError(reply.error)


def _encoder() -> Callable[[Any], str]:
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
