"""The port that a handler is given when it asks for `gateway`."""

from __future__ import annotations

from typing import Any


class GatewayError(RuntimeError):
    """A call to the outside that can't be answered; its handler's event becomes a failure."""


class SealedGateway:
    """Answers nothing and lets nothing out."""

    def query(self, port: str, operation: str, request: Any = None) -> Any:
        """Ask the outside; raises `GatewayError`, as no answer is recorded."""
        raise GatewayError(f"no answer is recorded for the query {port}.{operation}({request!r})")

    def command(self, port: str, operation: str, request: Any = None) -> Any:
        """Change something outside; raises `GatewayError`, as nothing goes out in a replay."""
        raise GatewayError(f"the command {port}.{operation}({request!r}) is not let out")
