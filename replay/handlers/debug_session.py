"""Debugs the handler of one event in a process of the user's interpreter with its own terminal.

The process gets the event and the document before it: from the document's JSON if the history
round-trips through JSON, else from the document's own events. Workspace and history don't change.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from replay.event_fold import state_recall
from replay.handlers.debug_terminal import DebugTerminal, Sanitize
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.projection.declaration import is_over_all_events
from replay.projection.projection_reference import Reference
from replay.worker.protocol import wire
from replay.worker_host import event_frame, process_session, worker_process
from replay.worker_host.gateway_bridge import GatewayBridge
from replay.worker_host.readable_files import readable_files, visible_variables
from replay.worker_host.sandbox import CellOptions, Sandbox
from replay.worker_host.sigint import sigint_ignored
from replay.worker_host.worker_frames import BrokenFrameError, Frame, receive_frame
from storage.errors import CancelledError, PositionError, ProjectionError, QueryError
from storage.log.event_rows import EventRows
from storage.log.positions import START
from storage.workspace.workspace import Workspace

_MOST_WAITING = 64
"""Frames that are read ahead of their use."""


@dataclass(frozen=True)
class DebugTarget:
    """The event whose handler to debug, and how."""

    offset: int
    key: str | None = None
    """The document; None: the first document that the event reaches."""
    preferred_key: str | None = None
    """The document to prefer if the event reaches it; ignored if it doesn't."""
    debugger_port: int | None = None
    """Port on which to wait for an IDE, instead of stopping in the terminal; 0: any free port."""

    def __post_init__(self) -> None:
        """Raise `PositionError` if the position is the start, where there is no event."""
        if self.offset == START:
            raise PositionError("The position `start` has no event; give the position of an event.")


@dataclass(frozen=True)
class DebugResult:
    """What the handler did to its document."""

    key: str
    state_before: str | None
    """The document's JSON; None if the document doesn't exist."""
    state_after: str | None
    traceback: str | None
    """Traceback if the handler raised; the document then stays unchanged."""


def find_history_before(
    workspace: Workspace,
    reference: Reference,
    offset: int,
    fold: Callable[[], FoldRecord],
) -> FoldRecord:
    """Return a fold of this code that reaches the event; call `fold` if there is none.

    A fold that ends at the event is enough, because a handler that never returns is worth
    debugging. Raises `ProjectionError` if the projection has no Python handler.
    """
    if reference.command:
        raise ProjectionError(
            f"{reference.name} is a program, which refold can't debug; start it under its language's"
            " debugger and fold with that command."
        )
    if is_over_all_events(reference.text):
        raise ProjectionError(
            f"{reference.name} is a query over all events, so it has no handler to debug."
        )
    existing = catalogue.find_fold(workspace, reference)
    if _is_folded_up_to(existing, offset):
        return existing
    try:
        return fold()
    except ProjectionError:
        existing = catalogue.find_fold(workspace, reference)
        if _is_folded_up_to(existing, offset):
            return existing
        raise


def _is_folded_up_to(fold_record: FoldRecord | None, offset: int) -> TypeGuard[FoldRecord]:
    return (
        fold_record is not None
        and fold_record.is_code_unchanged
        and fold_record.next_offset >= offset
    )


def debug_handler(
    workspace: Workspace,
    reference: Reference,
    fold_record: FoldRecord,
    target: DebugTarget,
    on_result: Callable[[DebugResult], None],
    sanitize: Sanitize = str,
) -> None:
    """Run the handler under a debugger; call `on_result` when it has returned or raised.

    `sanitize` makes the handler's output safe for the user's terminal.

    Raises `QueryError` if no handler takes the event to that document or no IDE can attach,
    `ProjectionError` if the projection can't be run, and `CancelledError` if the user interrupts.
    """
    with _DebugProcess(workspace, reference, fold_record, target, sanitize) as session:
        session.run(on_result)


class _DebugProcess:
    """The debugged process and the pipes to it."""

    def __init__(
        self,
        workspace: Workspace,
        reference: Reference,
        fold_record: FoldRecord,
        target: DebugTarget,
        sanitize: Sanitize,
    ) -> None:
        self._workspace = workspace
        self._reference = reference
        self._fold_record = fold_record
        self._target = target
        self._gateway_bridge = GatewayBridge(workspace, reference)
        from_child, outgoing = os.pipe()
        answers, to_child = os.pipe()
        spec = {
            "reference": reference.text,
            "name": reference.name,
            "cwd": reference.cwd,
            "own_time": reference.gateway_settings.own_time,
            "world": None,
            "key": target.key,
            "preferred": target.preferred_key,
            "port": target.debugger_port,
            "outgoing": outgoing,
            "answers": answers,
        }
        sys.stdout.flush()
        self._terminal = DebugTerminal(sanitize)
        try:
            self._process = self._start(
                [reference.python, str(worker_process.WORKER_MAIN), json.dumps(spec), "step"],
                pass_fds=(outgoing, answers),
                cwd=reference.cwd,
                **self._terminal.streams,
            )
        except OSError as error:
            os.close(from_child)
            os.close(to_child)
            self._terminal.close()
            raise worker_process.interpreter_start_error(reference, error) from error
        finally:
            os.close(outgoing)
            os.close(answers)
        self._terminal.started()
        self._from_child = os.fdopen(from_child, "rb")
        self._to_child = os.fdopen(to_child, "wb")
        self._frames: queue.Queue[Frame | BaseException] = queue.Queue(_MOST_WAITING)
        self._wake, self._waker = os.pipe()
        self._reader = threading.Thread(target=self._read_frames, daemon=True)
        self._reader.start()

    def _start(self, command: list[str], **popen: Any) -> "subprocess.Popen[bytes]":
        """Start it sandboxed; a process that waits for an IDE sandboxes itself once it listens."""
        popen["env"] = visible_variables(self._reference, worker_process.worker_environment())
        if self._terminal.is_open:
            popen["env"]["TERM"] = "dumb"  # so that line editors keep the cursor in its line
        if self._target.debugger_port is None:
            options = CellOptions(
                readable=readable_files(self._reference), has_terminal=self._terminal.reads
            )
            return Sandbox(command, lambda _: None, options, **popen).process
        if self._terminal.reads:
            popen["stdin"] = subprocess.DEVNULL
        started = subprocess.Popen(command, start_new_session=True, **popen)
        process_session.keep_group(started.pid)
        return started

    def __enter__(self) -> "_DebugProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._gateway_bridge.__exit__()
        with contextlib.suppress(OSError):
            self._to_child.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._kill()
        self._process.wait()
        self._terminal.close()
        self._reader.join(timeout=1)
        if not self._reader.is_alive():
            os.close(self._wake)
            os.close(self._waker)

    def _kill(self) -> None:
        process_session.end_group(self._process.pid)

    def _interrupt(self, *_: object) -> None:
        """Pass Ctrl+C on to the process, whose terminal isn't the one where it was pressed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def run(self, on_result: Callable[[DebugResult], None]) -> None:
        with sigint_ignored(self._interrupt), self._terminal.attached(self._kill):
            self._send(*event_frame.build_event_frame(self._load_event()))
            while (frame := self._receive()).kind not in ("done", "left"):
                header = frame.header
                if frame.kind == "ask" and {"key", "routed"} <= header.keys():
                    self._send(*self._recall_document(header))
                elif frame.kind == "call":
                    self._send(*self._gateway_bridge.answer_call(header, frame.parts))
                elif frame.kind == "stepped":
                    _check_json(header["before"], header["after"])
                    on_result(
                        DebugResult(
                            header["key"], header["before"], header["after"], header["traceback"]
                        )
                    )
                    self._send({"kind": "go on"}, ())
                else:
                    raise self._error_for(header)

    def _load_event(self) -> Any:
        """Return the event as a table, without recorded answers: the gateway answers its calls."""
        event_rows = EventRows(self._workspace, event_frame.SELECT_COLUMNS)
        event = event_rows.read_at([self._target.offset])
        if not event.num_rows:
            raise QueryError(f"The event at {self._target.offset} was removed from the log.")
        return event

    def _recall_document(self, header: Any) -> state_recall.DocumentFrame:
        fold_record = self._fold_record
        arguments = (self._workspace, fold_record.projection_number, [header["key"]])
        before = self._target.offset
        if header["events"] or fold_record.round_trips_json is not True:
            return state_recall.recall_events(
                *arguments, before_offset=before, is_routed=header["routed"]
            )
        return state_recall.recall_states(*arguments, before_offset=before)

    def _error_for(self, header: Any) -> Exception:
        name, at = self._reference.name, f"{self._target.offset:,}"
        kind = header["kind"]
        if kind == "interrupted":
            return CancelledError("Interrupted; nothing was written.")
        if kind == "no handler":
            return QueryError(
                f"{name} has no handler for {header['type']}, the type of the event at {at}."
            )
        if kind == "no key":
            reached = ", ".join(repr(key) for key in header["keys"]) or "no document"
            contrast = "" if self._target.key is None else f", not {self._target.key!r}"
            return QueryError(f"The event at {at} reaches {reached}{contrast}.")
        if kind == "no keys":
            return ProjectionError(
                f"The key function of {name} raised for the event at {at}: {header['error']}."
            )
        if kind == "no debugpy":
            python = self._reference.python
            return QueryError(
                f"{python} has no debugpy, which an IDE needs to attach;"
                f" install it with `{python} -m pip install debugpy`."
            )
        if kind == "no port":
            return QueryError(
                f"Can't listen on port {self._target.debugger_port}: {header['error']};"
                " give another port with --port."
            )
        if kind == "unusable":
            return worker_process.projection_load_error(self._reference, header)
        return BrokenFrameError(f"a frame {kind!r} during a debug session")

    def _send(self, header: dict[str, Any], parts: tuple[Any, ...]) -> None:
        with contextlib.suppress(BrokenPipeError):
            wire.send_frame(self._to_child, header, parts)

    def _receive(self) -> Frame:
        self._terminal.pump(self._wake)
        os.read(self._wake, 1)
        self._terminal.drain()
        frame = self._frames.get()
        if isinstance(frame, wire.ConnectionClosedError):
            raise ProjectionError(
                f"{self._reference.name} {worker_process.describe_exit(self._process)} while it was debugged."
            ) from None
        if isinstance(frame, BaseException):
            raise frame
        return frame

    def _read_frames(self) -> None:
        """Put frames into the queue until the connection ends; runs in a thread."""
        with self._from_child:
            while True:
                try:
                    frame: Frame | BaseException = receive_frame(self._from_child)
                except (wire.ConnectionClosedError, ProjectionError) as error:
                    frame = error
                except OSError:
                    frame = wire.ConnectionClosedError()
                self._frames.put(frame)
                os.write(self._waker, b"+")
                if isinstance(frame, BaseException):
                    return


def _check_json(*texts: str | None) -> None:
    """Raise `BrokenFrameError` if a text isn't JSON."""
    try:
        for text in texts:
            if text is not None:
                json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenFrameError("a state that isn't JSON") from None
