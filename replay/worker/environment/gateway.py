"""The object that a handler gets for its parameter `gateway`, without importing anything."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .gateway_errors import CallFailedError, CallTimeoutError

if TYPE_CHECKING:
    from .calls import CallDispatcher
    from .deterministic_time import DeterministicTime


class Gateway:
    """Queries and commands to the outside; in a replay, recordings answer them."""

    Failed = CallFailedError
    """Raised by a call that failed."""
    Timeout = CallTimeoutError
    """Raised by a call that timed out."""

    def __init__(self, calls: "CallDispatcher", deterministic_time: "DeterministicTime") -> None:
        self._calls = calls
        self._deterministic_time = deterministic_time

    def query(self, port: str, operation: str, request: Any = None) -> Any:
        """Ask the outside; return the answer, a fresh JSON value.

        Raises `GatewayError` if nothing answers it, and `Failed` or `Timeout` if the call failed.
        """
        return self._calls.call_gateway("query", port, operation, request)

    def command(self, port: str, operation: str, request: Any = None) -> Any:
        """Change something outside; return the answer. Raises the same errors as `query`."""
        return self._calls.call_gateway("command", port, operation, request)

    async def aquery(self, port: str, operation: str, request: Any = None) -> Any:
        """Do the same as `query`, in an async handler."""
        return self.query(port, operation, request)

    async def acommand(self, port: str, operation: str, request: Any = None) -> Any:
        """Do the same as `command`, in an async handler."""
        return self.command(port, operation, request)

    def now(self) -> datetime:
        """Return the time in UTC: as recorded, or the event's."""
        now: datetime = self._deterministic_time.now()
        return now

    def random(self, purpose: str = "") -> float:
        """Return a number in [0, 1): as recorded, or derived from event, projection and purpose.

        Each purpose has a separate sequence, so a new call doesn't shift the numbers of other calls.
        """
        drawn: float = self._deterministic_time.random(purpose)
        return drawn

    def uuid(self, purpose: str = "") -> uuid.UUID:
        """Return an id: as recorded, or derived from the event, the projection and the purpose."""
        drawn: uuid.UUID = self._deterministic_time.uuid(purpose)
        return drawn
