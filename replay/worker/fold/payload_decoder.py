"""Runs a user's decoder, a function from a stored payload to the value that it encodes."""

from __future__ import annotations

import inspect
from typing import Any, BinaryIO, Callable, Dict, List

from ..protocol import tracebacks, wire
from ..protocol.encoding import encode_exactly
from ..protocol.text_limits import escape_surrogates
from . import contract


class DecoderError(Exception):
    """The decoder can't be called; the message is written for the user."""


def load_decoder(reference: str) -> Callable[[Any], Any]:
    """Import and return the decoder.

    Raises `DecoderError` if it is not a plain function, and what importing its code raises.
    """
    function, name = contract.import_target(reference)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise DecoderError(f"{name} is not a plain function. Name a function that is not async")
    decoder: Callable[[Any], Any] = function
    return decoder


class DecoderSession:
    """Decodes the payloads that the parent sends, until it closes the pipe."""

    def __init__(
        self,
        decode: Callable[[Any], Any],
        current_payload: Any,
        incoming: BinaryIO,
        outgoing: BinaryIO,
    ) -> None:
        """The session writes the index of the payload that it decodes to `current_payload[0]`."""
        self._decode = decode
        self._current_payload = current_payload
        self._incoming, self._outgoing = incoming, outgoing

    def run(self) -> None:
        wire.send_frame(self._outgoing, {"kind": "ready"})
        while True:
            try:
                header, parts = wire.receive_frame(self._incoming)
            except wire.ConnectionClosedError:
                return
            wire.send_frame(self._outgoing, *self._decode_payloads(header, parts[0]))

    def _decode_payloads(self, header: Dict[str, Any], payloads: bytes) -> Any:
        texts: List[bytes] = []
        lengths: List[int] = []
        error, position = "", 0
        for number, (length, is_text) in enumerate(zip(header["lengths"], header["texts"])):
            self._current_payload[0] = header["first"] + number
            payload = payloads[position : position + length]
            position += length
            try:
                text = encode_exactly(self._decode(payload.decode() if is_text else payload))
            except Exception as exception:
                error = error or escape_surrogates(
                    (tracebacks.summarize_error(exception).splitlines() or [""])[0]
                )
                lengths.append(-1)
            else:
                texts.append(text)
                lengths.append(len(text))
        return {"kind": "unpacked", "lengths": lengths, "error": error}, (b"".join(texts),)
