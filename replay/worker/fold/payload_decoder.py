"""`unpack(payload)`: a user's function from a payload, as it is stored, to the value that it holds."""

from __future__ import annotations

import inspect
from typing import Any, BinaryIO, Callable, Dict, List

from ..protocol import tracebacks, wire
from ..protocol.encoding import encode
from ..protocol.text_limits import carried
from . import contract


class UnpackingError(Exception):
    """The function can't be asked; the message is a sentence for a person."""


def load(reference: str) -> Callable[[Any], Any]:
    """Import it; raises `UnpackingError` where it is no function, and what its code raises."""
    function, name = contract.imported(reference)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise UnpackingError(f"{name} is no function that can be asked as it is")
    found: Callable[[Any], Any] = function
    return found


class Session:
    """Answers the parent until it closes the pipe."""

    def __init__(
        self, unpack: Callable[[Any], Any], mark: Any, incoming: BinaryIO, outgoing: BinaryIO
    ) -> None:
        """`mark` is to tell which payload it is at."""
        self._unpack = unpack
        self._mark = mark
        self._incoming, self._outgoing = incoming, outgoing

    def run(self) -> None:
        wire.send(self._outgoing, {"kind": "ready"})
        while True:
            try:
                header, parts = wire.receive(self._incoming)
            except wire.ClosedError:
                return
            wire.send(self._outgoing, *self._unpacked(header, parts[0]))

    def _unpacked(self, header: Dict[str, Any], payloads: bytes) -> Any:
        found: List[bytes] = []
        lengths: List[int] = []
        error, at = "", 0
        for number, (length, is_text) in enumerate(zip(header["lengths"], header["texts"])):
            self._mark[0] = header["first"] + number
            payload = payloads[at : at + length]
            at += length
            try:
                text = encode(self._unpack(payload.decode() if is_text else payload))
            except Exception as raised_:
                error = error or carried((tracebacks.summary(raised_).splitlines() or [""])[0])
                lengths.append(-1)
            else:
                found.append(text)
                lengths.append(len(text))
        return {"kind": "unpacked", "lengths": lengths, "error": error}, (b"".join(found),)
