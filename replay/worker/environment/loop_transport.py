"""What stands for a connection of an event loop's: aiohttp's requests are asked of the gateway."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

from . import http_text

AnswerRequest = Callable[[http_text.HttpRequest], bytes]
"""Gives the bytes of an answer; raises what a connection would."""


class GatewayTransport(asyncio.Transport):
    """One connection."""

    def __init__(self, answer_request: AnswerRequest, protocol: Any) -> None:
        super().__init__()
        self._answer_request = answer_request
        self._protocol = protocol
        self._sent = bytearray()
        self._closing = False

    def write(self, data: Any) -> None:
        self._sent += bytes(data)
        http_request = http_text.parse_request(bytes(self._sent))
        if http_request is not None:
            self._sent.clear()
            # The protocol expects an answer only after it has seen its request written.
            asyncio.get_running_loop().call_soon(self._send_answer, http_request)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def get_extra_info(self, _: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """All is there at once."""

    def resume_reading(self) -> None:
        """As above."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, *_: Any, **__: Any) -> None:
        """Nothing is held back."""

    def _send_answer(self, http_request: http_text.HttpRequest) -> None:
        try:
            answer = self._answer_request(http_request)
        except Exception as error:
            self._protocol.set_exception(error)
            return
        self._protocol.data_received(answer)
