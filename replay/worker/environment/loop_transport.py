"""An asyncio transport that sends aiohttp's requests to the gateway instead of a connection."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

from . import http_text

AnswerRequest = Callable[[http_text.HttpRequest], bytes]
"""Takes a request, returns the bytes of its response; raises what a connection would raise."""


class GatewayTransport(asyncio.Transport):
    """Stands for one connection of aiohttp."""

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
            # aiohttp accepts a response only after the write of its request has returned.
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
        """Do nothing: the whole response arrives at once."""

    def resume_reading(self) -> None:
        """Do nothing: the whole response arrives at once."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, *_: Any, **__: Any) -> None:
        """Do nothing: no data is buffered."""

    def _send_answer(self, http_request: http_text.HttpRequest) -> None:
        try:
            answer = self._answer_request(http_request)
        except Exception as error:
            self._protocol.set_exception(error)
            return
        self._protocol.data_received(answer)
