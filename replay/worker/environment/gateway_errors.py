"""Errors that calls to the outside raise in a handler."""

from __future__ import annotations


class GatewayError(RuntimeError):
    """Nothing can answer the call; its event becomes a failure."""

    __module__ = "refold"


class CallFailedError(GatewayError):
    """The call failed when it was recorded, and fails again now; a handler may catch this."""

    __module__ = "refold"


class CallTimeoutError(CallFailedError, TimeoutError):
    """The call timed out."""

    __module__ = "refold"
