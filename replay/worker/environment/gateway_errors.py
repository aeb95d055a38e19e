"""Errors that a handler gets for a call to the outside."""

from __future__ import annotations


class GatewayError(RuntimeError):
    """A call to the outside that can't be answered; its handler's event becomes a failure."""

    __module__ = "refold"


class CallFailedError(GatewayError):
    """A call that failed then, as it fails now; a handler may go on."""

    __module__ = "refold"


class CallTimeoutError(CallFailedError, TimeoutError):
    """A call that timed out."""

    __module__ = "refold"
