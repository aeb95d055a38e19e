"""The port that a handler is given when it asks for `gateway`; nothing has to be imported for it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .gateway_errors import CallFailedError, CallTimeoutError

if TYPE_CHECKING:
    from .calls import CallDispatcher
    from .deterministic_time import DeterministicTime


class Gateway:
    """Asks and changes the outside, which in a replay is what was recorded of it."""

    Failed = CallFailedError
    """What a call raises that failed."""
    Timeout = CallTimeoutError
    """What it raises where it timed out."""

    def __init__(self, calls: "CallDispatcher", deterministic_time: "DeterministicTime") -> None:
        self._calls = calls
        self._deterministic_time = deterministic_time

    def query(self, port: str, operation: str, request: Any = None) -> Any:
        """Ask the outside: the answer, a fresh JSON value.

        Raises `GatewayError` where nothing answers it, and `Failed` or `Timeout` where it failed.
        """
        return self._calls.call_gateway("query", port, operation, request)

    def command(self, port: str, operation: str, request: Any = None) -> Any:
        """Change something outside; what it was answered with. Raises as `query` does."""
        return self._calls.call_gateway("command", port, operation, request)

    async def aquery(self, port: str, operation: str, request: Any = None) -> Any:
        """`query` in an async handler."""
        return self.query(port, operation, request)

    async def acommand(self, port: str, operation: str, request: Any = None) -> Any:
        """`command` in an async handler."""
        return self.command(port, operation, request)

    def now(self) -> datetime:
        """The time, in UTC: as recorded, or the event's."""
        now: datetime = self._deterministic_time.now()
        return now

    def random(self, purpose: str = "") -> float:
        """A number in [0, 1): as recorded, or drawn from the event, the projection and the purpose.

        Each purpose has numbers of its own, so that one more call doesn't shift all others.
        """
        drawn: float = self._deterministic_time.random(purpose)
        return drawn

    def uuid(self, purpose: str = "") -> uuid.UUID:
        """An id: as recorded, or made of the event, the projection and the purpose."""
        made: uuid.UUID = self._deterministic_time.uuid(purpose)
        return made
