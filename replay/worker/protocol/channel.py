"""The worker's line to its parent: what it tells, and what it asks and waits for, one at a time."""

from __future__ import annotations

import threading
from typing import Any, BinaryIO, Dict, List, Tuple

from . import wire


class ParentChannel:
    """Two pipes. May be used from any thread."""

    def __init__(self, outgoing: BinaryIO, answers: BinaryIO) -> None:
        self._outgoing, self._answers = outgoing, answers
        self._lock = threading.RLock()

    def send(self, header: Dict[str, Any], parts: Tuple[Any, ...] = ()) -> None:
        """Say something that needs no answer."""
        with self._lock:
            wire.send_frame(self._outgoing, header, parts)

    def request(
        self, header: Dict[str, Any], parts: Tuple[Any, ...] = ()
    ) -> Tuple[Any, List[bytes]]:
        """Say something, and the answer to it."""
        with self._lock:
            wire.send_frame(self._outgoing, header, parts)
            answer: Tuple[Any, List[bytes]] = wire.receive_frame(self._answers)
        return answer
