"""The worker's channel to its parent: sends messages, and requests that wait for an answer."""

from __future__ import annotations

import threading
from typing import Any, BinaryIO, Dict, List, Tuple

from . import wire


class ParentChannel:
    """Two pipes to the parent; any thread may use it, one request runs at a time."""

    def __init__(self, outgoing: BinaryIO, answers: BinaryIO) -> None:
        self._outgoing, self._answers = outgoing, answers
        self._lock = threading.RLock()

    def send(self, header: Dict[str, Any], parts: Tuple[Any, ...] = ()) -> None:
        """Send a message that needs no answer."""
        with self._lock:
            wire.send_frame(self._outgoing, header, parts)

    def request(
        self, header: Dict[str, Any], parts: Tuple[Any, ...] = ()
    ) -> Tuple[Any, List[bytes]]:
        """Send a request, wait for the answer, and return its header and parts."""
        with self._lock:
            wire.send_frame(self._outgoing, header, parts)
            answer: Tuple[Any, List[bytes]] = wire.receive_frame(self._answers)
        return answer
