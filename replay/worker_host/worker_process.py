"""The parent's end of a worker: starts it, sends frames, receives frames, and detects its end.

Frames go in through one pipe and out through another, each with its own thread, so neither side waits
for the other; a third pipe carries answers to the worker's questions. A page of shared memory holds the
offset that the worker is at, so that a hang or a crash can be reported with its event.
"""

import contextlib
import fcntl
import json
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.projection.projection_reference import Reference
from replay.worker.environment import blocked_attempts
from replay.worker.protocol import wire
from replay.worker_host.event_mark import EventMark
from replay.worker_host.gateway_bridge import GatewayBridge
from replay.worker_host.readable_files import readable_files, visible_variables
from replay.worker_host.sandbox import CellOptions, IsolationLevel, Sandbox
from replay.worker_host.seccomp_listener import BlockedCall
from replay.worker_host.worker_frames import BrokenFrameError, Frame, receive_frame
from storage.errors import ProjectionError

PATIENCE_SECONDS = 30.0
"""Seconds that a handler may take for one event before its worker is stopped."""

WORKER_MAIN = Path(__file__).parents[1] / "worker" / "__main__.py"
"""Script that the user's interpreter runs as a worker."""
_NOT_STARTED = -2
"""Value of the event mark until our code runs in the process, which may not be Python at all."""
_OUTPUT_BYTES_KEPT = 64 << 10
_LAST_OUTPUT_SECONDS = 1.0
_MAX_BLOCKED_SOCKETS = 10_000
_MOST_WAITING_BYTES = 512 << 20
_PIPE_BYTES = 1 << 20
"""Largest pipe that Linux allows a user by default."""


def worker_environment() -> dict[str, str]:
    """Return the environment of a worker: the user's, and settings that make results repeatable."""
    return {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
    }


def interpreter_start_error(reference: Reference, error: OSError) -> ProjectionError:
    """Return the error for an interpreter that can't be started."""
    return ProjectionError(
        f"The interpreter {reference.python} can't be started: {error.strerror}."
    )


def describe_exit(process: "subprocess.Popen[bytes]", output: bytes = b"") -> str:
    """Return how a process ended that has closed its pipe, as `exited with code 5`."""
    try:
        code = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return "closed its pipe"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    output_lines = output.decode("utf-8", "replace").strip().splitlines()
    return f"exited with code {code}" + (f" ({output_lines[-1]})" if output_lines else "")


def default_memory_bytes() -> int:
    """Return the memory limit of all workers by default: four fifths of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 5 * 4


def _enlarge_pipe(pipe: int) -> None:
    """Enlarge a pipe, because gigabytes go through and each wake-up of a side costs time. Linux only."""
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if size is not None:
        with contextlib.suppress(OSError):  # the user's total for all pipes may be used up
            fcntl.fcntl(pipe, size, _PIPE_BYTES)


def projection_load_error(reference: Reference, header: Mapping[str, Any]) -> ProjectionError:
    """Return the error for a projection or decoder that a worker can't load."""
    return ProjectionError(f"{reference.name} can't be loaded: {header['error']}.")


class WorkerDiedError(Exception):
    """The worker ended during its work; `offset` is the event that it was at."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


@dataclass(frozen=True)
class ShiftedWorldSettings:
    """Another world for a worker: shifted clocks, other random numbers, other environment."""

    clock_shift_seconds: int
    """Seconds that its clocks are ahead of this machine's."""
    seed: int
    environment: Mapping[str, str]
    """Variables in addition to those of every worker, such as another hash seed and time zone."""


class _BlockedSockets:
    """Calls of native code that the kernel refused, with their events."""

    def __init__(self, current_offset: EventMark) -> None:
        self._current_offset = current_offset
        self._blocked: list[dict[str, Any]] = []

    def record_attempt(self, call: BlockedCall) -> None:
        """Record a refused call with the event that is being handled; safe from any thread."""
        offset = self._current_offset.offset
        if offset <= _NOT_STARTED or len(self._blocked) >= _MAX_BLOCKED_SOCKETS:
            return
        self._blocked.append(
            blocked_attempts.build_blocked_decision(
                offset, None, 0, call.what, call.request, None, call.how
            )
        )

    def take_attempts(self) -> list[dict[str, Any]]:
        """Return the refused calls since the last time."""
        attempts, self._blocked = self._blocked, []
        return attempts


class Worker:
    """A running worker process. Use as a context manager: leaving it kills the process."""

    def __init__(
        self,
        reference: Reference,
        gateway_bridge: GatewayBridge | None = None,
        *,
        careful: bool = False,
        resuming: bool = False,
        plain: bool = False,
        part: int = 0,
        parts: int = 1,
        probe: str = "",
        projects: bool = False,
        unpacks: bool = False,
        world: ShiftedWorldSettings | None = None,
        memory: int | None = None,
        room: int = 0,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Start a worker, whose calls to the outside go through `gateway_bridge`.

        `careful` turns on encoding by the full rules from the start. `resuming` lets it resume documents
        that were folded before: from their JSON if `plain` says that they round-trip, else by folding
        their own events again. It is worker number `part` of `parts` that share the documents.
        `projects` starts it for a query over all events, `unpacks` for a decoder, instead of a fold.
        `probe` is one of `replay.worker.fold.probes`; `world` changes its clocks and random numbers.
        It may take `memory` bytes (by default most of this machine's), and reports that it is full when
        its documents take `room` bytes; 0: never. `patience` is the seconds that one event may take.
        """
        self._patience_seconds = patience
        self._reference = reference
        self._gateway_bridge = gateway_bridge
        self._memory = memory or default_memory_bytes()
        self._environment = {
            **visible_variables(reference, worker_environment()),
            **(world.environment if world else {}),
        }
        self._current_offset = EventMark(_NOT_STARTED)
        self._blocked_sockets = _BlockedSockets(self._current_offset)
        with self._current_offset.shared() as shared:
            self._start(
                shared,
                careful=careful,
                resuming=resuming,
                plain=plain,
                part=part,
                parts=parts,
                memory=self._memory,
                room=room,
                probe=probe,
                projects=projects,
                unpacks=unpacks,
                own_time=reference.gateway_settings.own_time,
                world=None
                if world is None
                else {"seconds": world.clock_shift_seconds, "seed": world.seed},
            )
        self._outbox: queue.Queue[tuple[dict[str, Any], tuple[Any, ...]] | None] = queue.Queue()
        self._inbox: queue.Queue[Frame | BrokenFrameError | None] = queue.Queue(32)
        self._inbox_bytes = 0
        self._is_closing = False
        self._output = bytearray()
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._write_frames, self._read_frames, self._read_output)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        self._sandbox.end()
        self._process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            while thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    self._inbox.get_nowait()
                thread.join(timeout=0.02)
        for stream in (self._to_worker, self._from_worker, self._answers):
            with contextlib.suppress(OSError):
                stream.close()

    @property
    def isolation(self) -> IsolationLevel:
        """The isolation level of the process."""
        return self._sandbox.isolation

    def send(self, header: dict[str, Any], parts: tuple[Any, ...]) -> None:
        """Queue a frame; returns at once."""
        self._outbox.put((header, parts))

    def reset(self, gateway_bridge: GatewayBridge | None) -> None:
        """Make the worker forget its documents; its later calls go through `gateway_bridge`."""
        self._gateway_bridge = gateway_bridge
        self.send({"kind": "anew"}, ())

    def send_answer(self, header: dict[str, Any], parts: tuple[Any, ...]) -> None:
        """Send the answer to a question of the worker."""
        with contextlib.suppress(BrokenPipeError):
            wire.send_frame(self._answers, header, parts)

    def finish(self) -> None:
        """Tell the worker that no more frames come."""
        self._outbox.put(None)

    def drop_queued(self) -> None:
        """Take back the queued frames that were not written to the worker yet."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._outbox.get_nowait()

    def receive(self, raise_if_cancelled: Callable[[], None] = lambda: None) -> Frame:
        """Return the next frame; answers calls to the outside while it waits.

        Calls `raise_if_cancelled` repeatedly; it may raise to end the wait. Kills a worker that stays at
        one event for longer than its patience. Raises `WorkerDiedError` if the worker has ended,
        `BrokenFrameError` if it sent an invalid frame, and `ProjectionError` if it never started.
        """
        last_offset, last_progress_time = self._current_offset.offset, time.monotonic()
        while True:
            try:
                frame = self._inbox.get(timeout=0.1)
            except queue.Empty:
                raise_if_cancelled()
                if self._current_offset.offset != last_offset:
                    last_offset, last_progress_time = self._current_offset.offset, time.monotonic()
                elif time.monotonic() - last_progress_time > self._patience_seconds:
                    self._process.kill()
                    raise WorkerDiedError(
                        last_offset, f"did not return within {self._patience_seconds:g} s"
                    ) from None
                continue
            if isinstance(frame, BrokenFrameError):
                self._sandbox.end()
                raise frame
            if frame is None:
                exit_description = self._describe_end()
                if self._current_offset.offset == _NOT_STARTED:
                    raise ProjectionError(
                        f"{self._reference.python} doesn't run as Python: it {exit_description}."
                    )
                raise WorkerDiedError(self._current_offset.offset, exit_description)
            if frame.kind == "broken":
                raise WorkerDiedError(
                    self._current_offset.offset,
                    str(frame.header["what"]) + self._last_output_line(),
                )
            if frame.kind == "unusable" and self._reference.command:
                error = frame.header["error"] + self._last_output_line()
                return Frame({**frame.header, "error": error}, frame.parts)
            if frame.kind != "call":
                return self._add_blocked_sockets(frame)
            if self._gateway_bridge is None:
                raise WorkerDiedError(
                    self._current_offset.offset,
                    "made a call to the outside, which nothing answers here",
                )
            asked = time.monotonic()
            self.send_answer(
                *self._gateway_bridge.answer_call(frame.header, frame.parts, raise_if_cancelled)
            )
            last_progress_time += time.monotonic() - asked

    def _describe_end(self) -> str:
        """Return how the worker ended, or that it reached its memory limit."""
        exit_description = describe_exit(self._process, bytes(self._output))
        if self._sandbox.has_used_up_memory:
            return f"used up the {self._memory / 1e6:,.0f} MB that it may take (--memory)"
        return exit_description

    def _add_blocked_sockets(self, frame: Frame) -> Frame:
        """Add the refused calls of native code to the result of a batch."""
        attempts = self._blocked_sockets.take_attempts() if frame.kind == "folded" else []
        if not attempts:
            return frame
        return Frame({**frame.header, "attempts": attempts}, frame.parts)

    def _last_output_line(self) -> str:
        """Return the last line on standard error, in parentheses; empty if there is none."""
        deadline = time.monotonic() + _LAST_OUTPUT_SECONDS
        stream, draining = self._process.stdout, self._threads[-1]
        while stream is not None and draining.is_alive() and time.monotonic() < deadline:
            if not select.select([stream], [], [], 0)[0]:
                break
            time.sleep(0.001)
        output_lines = bytes(self._output).decode("utf-8", "replace").strip().splitlines()
        return f" ({output_lines[-1][:200]})" if output_lines else ""

    def _start(self, offset_descriptor: int, **worker_options: Any) -> None:
        incoming, to_worker = os.pipe()
        from_worker, outgoing = os.pipe()
        answers, to_answers = os.pipe()
        for descriptor in (to_worker, from_worker):
            _enlarge_pipe(descriptor)
        spec = {
            "reference": self._reference.text,
            "name": self._reference.name,
            "command": self._reference.command,
            "cwd": self._reference.cwd,
            "incoming": incoming,
            "outgoing": outgoing,
            "answers": answers,
            "mark": offset_descriptor,
            **worker_options,
        }
        try:
            self._sandbox = Sandbox(
                [self._reference.python, str(WORKER_MAIN), json.dumps(spec)],
                self._blocked_sockets.record_attempt,
                CellOptions(worker_options["memory"], readable_files(self._reference)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(incoming, outgoing, answers, offset_descriptor),
                cwd=self._reference.cwd,
                env=self._environment,
            )
        except OSError as error:
            for descriptor in (to_worker, from_worker, to_answers):
                os.close(descriptor)
            raise interpreter_start_error(self._reference, error) from error
        finally:
            for descriptor in (incoming, outgoing, answers):
                os.close(descriptor)
        self._process = self._sandbox.process
        self._to_worker = os.fdopen(to_worker, "wb", buffering=1 << 20)
        self._from_worker = os.fdopen(from_worker, "rb", buffering=1 << 20)
        self._answers = os.fdopen(to_answers, "wb", buffering=1 << 16)

    def _write_frames(self) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            while (item := self._outbox.get()) is not None:
                wire.send_frame(self._to_worker, *item)
        with contextlib.suppress(BrokenPipeError):
            self._to_worker.close()

    def _read_frames(self) -> None:
        try:
            while not self._is_closing:
                frame = receive_frame(self._from_worker, self._memory)
                size = sum(map(len, frame.parts))
                self._wait_for_room(size)
                self._inbox.put(frame)
        except BrokenFrameError as error:
            self._inbox.put(error)
        except (wire.ConnectionClosedError, ValueError, OSError):
            self._inbox.put(None)

    def _wait_for_room(self, size: int) -> None:
        """Wait while so many bytes are queued that the next frame would exceed the limit."""
        if self._inbox.empty():
            self._inbox_bytes = 0
        while self._inbox_bytes + size > _MOST_WAITING_BYTES and not self._inbox.empty():
            time.sleep(0.005)
        self._inbox_bytes = size + (0 if self._inbox.empty() else self._inbox_bytes)

    def _read_output(self) -> None:
        """Read what handlers print, so that they never block; keep only its end."""
        stream = self._process.stdout
        while stream is not None and (data := os.read(stream.fileno(), 1 << 16)):
            self._output += data
            del self._output[:-_OUTPUT_BYTES_KEPT]
