"""Decodes payloads with a user's own function, which runs in a worker, never in this process.

Only functions run that were named when the load began.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from replay.projection import projection_reference
from replay.worker_host.worker_frames import BrokenFrameError
from replay.worker_host.worker_process import Worker, WorkerDiedError, projection_load_error
from storage.errors import SourceError
from storage.ingest.payload_decoders import UserDecoder


class DecoderWorkers:
    """The decoders of one load; `close` ends their workers."""

    def __init__(self, python: str, cwd: Path, readable: tuple[str, ...] | None = None) -> None:
        """Run functions with the interpreter `python`; their files are relative to `cwd`.

        `readable` are the folders that they may read; None: all. See `Reference.readable`.
        """
        self._readable = readable
        self._python = python
        self._cwd = cwd
        self._stack = ExitStack()

    def close(self) -> None:
        """End all workers."""
        self._stack.close()

    def __call__(self, function_reference: str) -> UserDecoder:
        """Return a decoder for a reference such as `decoders.py:unpack`; raises `SourceError`."""
        file_name, _, name = function_reference.rpartition(":")
        if not (name and file_name.endswith(".py") and (self._cwd / file_name).is_file()):
            raise SourceError(
                f"{function_reference!r} is not a function of an existing file; write python:FILE.py:function."
            )
        reference = projection_reference.parse_reference(
            function_reference, self._python, self._cwd
        )
        return _DecoderWorker(replace(reference, readable=self._readable), self._stack)


class _DecoderWorker:
    """One decoder; its worker starts with the first payload."""

    def __init__(self, reference: projection_reference.Reference, stack: ExitStack) -> None:
        self._reference = reference
        self._stack = stack
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self._payload_count = 0

    def __call__(self, payloads: Sequence[str | bytes]) -> Sequence[str | None]:
        with self._lock:  # DuckDB decodes in several threads
            try:
                return self._decode_payloads(payloads)
            except WorkerDiedError as error:
                at = f"at payload {error.offset + 1:,}" if error.offset >= 0 else "while loading"
                raise SourceError(f"{self._reference.text} {error.reason} {at}.") from error

    def _decode_payloads(self, payloads: Sequence[str | bytes]) -> Sequence[str | None]:
        worker = self._worker or self._start_worker()
        packed = [p.encode() if isinstance(p, str) else p for p in payloads]
        header = {
            "kind": "unpack",
            "first": self._payload_count,
            "lengths": [len(p) for p in packed],
            "texts": [isinstance(p, str) for p in payloads],
        }
        worker.send(header, (b"".join(packed),))
        self._payload_count += len(packed)
        frame = worker.receive().expected("unpacked")
        lengths, blob = frame.header["lengths"], frame.parts[0]
        is_invalid = len(lengths) != len(packed) or sum(max(n, 0) for n in lengths) != len(blob)
        values: list[str | None] = []
        at = 0
        try:
            for length in () if is_invalid else lengths:
                values.append(None if length < 0 else blob[at : at + length].decode())
                at += max(length, 0)
        except UnicodeDecodeError:
            is_invalid = True
        if is_invalid:
            raise BrokenFrameError("values whose lengths don't add up")
        return values

    def _start_worker(self) -> Worker:
        worker = self._stack.enter_context(Worker(self._reference, unpacks=True))
        frame = worker.receive()
        if frame.kind == "unusable":
            raise projection_load_error(self._reference, frame.header)
        frame.ready_for("decoder")
        self._worker = worker
        return worker
