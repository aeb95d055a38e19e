"""Live calls in a thread of their own, so that a person can cancel the wait for an answer."""

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillOutError
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from gateway.calls import Answer, AnswerOutcome, Call
from gateway.ports import PortSet

if TYPE_CHECKING:
    from concurrent.futures import Future

    from gateway.live_clients import LiveClients

_POLL_SECONDS = 0.1
_CLOSED_TEXT = "refold has closed its connections, so the call was not made"


class LiveCalls:
    """Makes live calls, one at a time; its clients start with the first call."""

    def __init__(self, ports: PortSet, folder: Path) -> None:
        """Use the live ports among `ports`; their programs run in `folder`."""
        self._ports = ports
        self._folder = folder
        self._lock = Lock()
        self._clients: LiveClients | None = None
        self._is_closed = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outside")

    def wait_for_answer(self, call: Call, raise_if_cancelled: Callable[[], None]) -> Answer:
        """Make a call and return its answer.

        Calls `raise_if_cancelled` repeatedly; it may raise to end the wait. Raises `UndeclaredPortError`.
        """
        future = self._start_call(call)
        if future is None:
            return Answer.from_error(_CLOSED_TEXT, AnswerOutcome.CANCELLED)
        while True:
            try:
                with suppress(StillOutError):
                    return future.result(_POLL_SECONDS)
            except CancelledError:  # closed before the call began
                return Answer.from_error(_CLOSED_TEXT, AnswerOutcome.CANCELLED)
            if not future.done():
                raise_if_cancelled()

    def close(self) -> None:
        """Close all connections and programs; one in use is closed when its call has ended."""
        with self._lock:
            self._is_closed = True
            self._executor.shutdown(wait=False, cancel_futures=True)
        if self._clients is not None:
            self._clients.close()

    def _start_call(self, call: Call) -> "Future[Answer] | None":
        with self._lock:
            if self._is_closed:
                return None
            if self._clients is None:
                from gateway.live_clients import LiveClients  # noqa: PLC0415 - most folds make no live call

                self._clients = LiveClients(self._ports, self._folder)
            return self._executor.submit(self._clients.call, call)
