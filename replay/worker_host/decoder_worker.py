"""Payloads that a user's own function unpacks: in a worker, never in this process.

No function runs that wasn't named when the load was begun.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from replay.projection import reference
from replay.worker_host.worker_frames import BrokenFrameError
from replay.worker_host.worker_process import Worker, WorkerDiedError, unloadable
from storage.errors import SourceError
from storage.ingest.payload_decoders import Unpack


class Unpackers:
    """The functions of one load, until it is closed."""

    def __init__(self, python: str, cwd: Path) -> None:
        """`python` is the interpreter that runs them."""
        self._python = python
        self._cwd = cwd
        self._stack = ExitStack()

    def close(self) -> None:
        """End their workers."""
        self._stack.close()

    def __call__(self, said: str) -> Unpack:
        """The function of that name, `decoders.py:unpack`; raises `SourceError`."""
        place, _, name = said.rpartition(":")
        if not (name and place.endswith(".py") and (self._cwd / place).is_file()):
            raise SourceError(
                f"{said!r} names no function that decodes; write python:FILE.py:function."
            )
        return _Unpacking(reference.parse(said, self._python, self._cwd), self._stack)


class _Unpacking:
    """One function. Its worker is started when there is something to unpack."""

    def __init__(self, wanted: reference.Reference, stack: ExitStack) -> None:
        self._wanted = wanted
        self._stack = stack
        self._worker: Worker | None = None
        self._one_at_a_time = threading.Lock()
        self._done = 0

    def __call__(self, payloads: Sequence[str | bytes]) -> Sequence[str | None]:
        with self._one_at_a_time:  # DuckDB asks from several threads
            try:
                return self._unpacked(payloads)
            except WorkerDiedError as error:
                at = f"at payload {error.offset + 1:,}" if error.offset >= 0 else "while loading"
                raise SourceError(f"{self._wanted.text} {error.what} {at}.") from error

    def _unpacked(self, payloads: Sequence[str | bytes]) -> Sequence[str | None]:
        worker = self._worker or self._started()
        packed = [p.encode() if isinstance(p, str) else p for p in payloads]
        header = {
            "kind": "unpack",
            "first": self._done,
            "lengths": [len(p) for p in packed],
            "texts": [isinstance(p, str) for p in payloads],
        }
        worker.send(header, (b"".join(packed),))
        self._done += len(packed)
        frame = worker.receive().expected("unpacked")
        lengths, blob = frame.header["lengths"], frame.parts[0]
        wrong = len(lengths) != len(packed) or sum(max(n, 0) for n in lengths) != len(blob)
        found: list[str | None] = []
        at = 0
        try:
            for length in () if wrong else lengths:
                found.append(None if length < 0 else blob[at : at + length].decode())
                at += max(length, 0)
        except UnicodeDecodeError:
            wrong = True
        if wrong:
            raise BrokenFrameError("values whose lengths don't add up")
        return found

    def _started(self) -> Worker:
        worker = self._stack.enter_context(Worker(self._wanted, unpacks=True))
        frame = worker.receive()
        if frame.kind == "unusable":
            raise unloadable(self._wanted, frame.header)
        frame.ready_for("decoder")
        self._worker = worker
        return worker
