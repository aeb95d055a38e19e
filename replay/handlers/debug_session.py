"""Stepping into one event's handler: a process of the user's interpreter, with a terminal of its own.

It is given the event, and the document as it was before it: from its JSON where the history is
known to be plain, else from the document's own events. Neither the workspace nor the history
changes.
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
from replay.history.catalogue import Folded
from replay.projection.declaration import over_all_events
from replay.projection.reference import Reference
from replay.worker.protocol import wire
from replay.worker_host import event_frame, process_session, worker_process
from replay.worker_host.gateway_bridge import Calling
from replay.worker_host.readable_files import readable_files, visible_variables
from replay.worker_host.sandbox import Cell, CellOptions
from replay.worker_host.sigint import undisturbed
from replay.worker_host.worker_frames import BrokenFrameError, Frame, receive_frame
from storage.db.query import arrow
from storage.errors import CancelledError, PositionError, ProjectionError, QueryError
from storage.log.positions import START
from storage.log.tombstones import HANDLED
from storage.workspace.workspace import Workspace

_MOST_WAITING = 64
"""Frames that are read before they are wanted."""


@dataclass(frozen=True)
class Wish:
    """Which handler is to be stepped into, and how."""

    offset: int
    key: str | None = None
    """The document; None: the first that the event reaches."""
    preferred: str | None = None
    """The document, if the event reaches it."""
    port: int | None = None
    """Wait for an IDE there, instead of stopping in the terminal; 0: any port that is free."""

    def __post_init__(self) -> None:
        """Raises `PositionError` where there is no event."""
        if self.offset == START:
            raise PositionError("At the start there is no event; give the position of one.")


@dataclass(frozen=True)
class Stepped:
    """What came of it."""

    key: str
    before: str | None
    """The document's JSON; None where there is no document."""
    after: str | None
    traceback: str | None
    """What was raised: the document stays as it was."""


def history_before(
    workspace: Workspace,
    wanted: Reference,
    offset: int,
    fold: Callable[[], Folded],
) -> Folded:
    """A history of this code that reaches up to the event; `fold` is called where there is none.

    A handler that never returns is worth stepping into, so a fold that ends at the event will do.
    """
    if wanted.command:
        raise ProjectionError(
            f"{wanted.name} is a program of its own; start it under its language's debugger and"
            " fold with that command."
        )
    if over_all_events(wanted.text):
        raise ProjectionError(
            f"{wanted.name} is a query over all events: there is no handler to step into."
        )
    found = catalogue.find(workspace, wanted)
    if _reaches(found, offset):
        return found
    try:
        return fold()
    except ProjectionError:
        found = catalogue.find(workspace, wanted)
        if _reaches(found, offset):
            return found
        raise


def _reaches(found: Folded | None, offset: int) -> TypeGuard[Folded]:
    return found is not None and found.code_unchanged and found.folded >= offset


def step(
    workspace: Workspace,
    wanted: Reference,
    folded: Folded,
    wish: Wish,
    told: Callable[[Stepped], None],
    sanitize: Sanitize = str,
) -> None:
    """Run the handler under a debugger; `told` is called when it has returned or raised.

    `sanitize` makes what it writes safe for the user's terminal.

    Raises `QueryError` where no handler takes the event to that
    document or no IDE can be waited for, `ProjectionError` where the projection can't be run, and
    `CancelledError` where the person interrupted it.
    """
    with _Session(workspace, wanted, folded, wish, sanitize) as session:
        session.run(told)


class _Session:
    """The process and the pipes to it."""

    def __init__(
        self,
        workspace: Workspace,
        wanted: Reference,
        folded: Folded,
        wish: Wish,
        sanitize: Sanitize,
    ) -> None:
        self._workspace = workspace
        self._wanted = wanted
        self._folded = folded
        self._wish = wish
        self._calling = Calling(workspace, wanted)
        from_child, outgoing = os.pipe()
        answers, to_child = os.pipe()
        spec = {
            "reference": wanted.text,
            "name": wanted.name,
            "cwd": wanted.cwd,
            "own_time": wanted.settings.own_time,
            "world": None,
            "key": wish.key,
            "preferred": wish.preferred,
            "port": wish.port,
            "outgoing": outgoing,
            "answers": answers,
        }
        sys.stdout.flush()
        self._terminal = DebugTerminal(sanitize)
        try:
            self._process = self._start(
                [wanted.python, str(worker_process.WORKER), json.dumps(spec), "step"],
                pass_fds=(outgoing, answers),
                cwd=wanted.cwd,
                **self._terminal.streams,
            )
        except OSError as error:
            os.close(from_child)
            os.close(to_child)
            self._terminal.close()
            raise worker_process.unstartable(wanted, error) from error
        finally:
            os.close(outgoing)
            os.close(answers)
        self._terminal.started()
        self._from_child = os.fdopen(from_child, "rb")
        self._to_child = os.fdopen(to_child, "wb")
        self._frames: queue.Queue[Frame | BaseException] = queue.Queue(_MOST_WAITING)
        self._wake, self._waker = os.pipe()
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    def _start(self, command: list[str], **popen: Any) -> "subprocess.Popen[bytes]":
        """Start it shut in; one that an IDE attaches to shuts itself in after it listens."""
        popen["env"] = visible_variables(self._wanted, worker_process.environment())
        if self._terminal.is_open:
            popen["env"]["TERM"] = "dumb"  # nothing then moves the cursor out of its line
        if self._wish.port is None:
            options = CellOptions(
                readable=readable_files(self._wanted), has_terminal=self._terminal.reads
            )
            return Cell(command, lambda _: None, options, **popen).process
        if self._terminal.reads:
            popen["stdin"] = subprocess.DEVNULL
        started = subprocess.Popen(command, start_new_session=True, **popen)
        process_session.keep_group(started.pid)
        return started

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._calling.__exit__()
        with contextlib.suppress(OSError):
            self._to_child.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._kill()
        self._process.wait()
        self._terminal.close()
        self._hearing.join(timeout=1)
        if not self._hearing.is_alive():
            os.close(self._wake)
            os.close(self._waker)

    def _kill(self) -> None:
        process_session.end_group(self._process.pid)

    def _interrupt(self, *_: object) -> None:
        """Ctrl+C at a terminal that isn't the process's own is for the process all the same."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def run(self, told: Callable[[Stepped], None]) -> None:
        with undisturbed(self._interrupt), self._terminal.attached(self._kill):
            self._send(*event_frame.frame(self._event()))
            while (frame := self._receive()).kind not in ("done", "left"):
                header = frame.header
                if frame.kind == "ask" and {"key", "routed"} <= header.keys():
                    self._send(*self._recalled(header))
                elif frame.kind == "call":
                    self._send(*self._calling.reply(header, frame.parts))
                elif frame.kind == "stepped":
                    _check_json(header["before"], header["after"])
                    told(
                        Stepped(
                            header["key"], header["before"], header["after"], header["traceback"]
                        )
                    )
                    self._send({"kind": "go on"}, ())
                else:
                    raise self._complaint(header)

    def _event(self) -> Any:
        """The event, whose calls are all answered when they are made."""
        with self._workspace.reading() as connection:
            event = arrow(
                connection,
                f'SELECT {event_frame.SELECT} FROM events WHERE "offset" = ? AND {HANDLED}',
                [self._wish.offset],
            )
        if not event.num_rows:
            raise QueryError(f"The event at {self._wish.offset} was removed from the log.")
        return event

    def _recalled(self, header: Any) -> state_recall.Parts:
        folded = self._folded
        place = (self._workspace, folded.number, [header["key"]])
        before = self._wish.offset
        if header["events"] or folded.plain is not True:
            return state_recall.events(*place, before=before, routed=header["routed"])
        return state_recall.states(*place, before=before)

    def _complaint(self, header: Any) -> Exception:
        name, at = self._wanted.name, f"{self._wish.offset:,}"
        kind = header["kind"]
        if kind == "interrupted":
            return CancelledError("Interrupted; nothing was written.")
        if kind == "no handler":
            return QueryError(f"{name} has no handler for {header['type']}, the event at {at}.")
        if kind == "no key":
            reached = ", ".join(repr(key) for key in header["keys"]) or "no document"
            meant = "" if self._wish.key is None else f", not {self._wish.key!r}"
            return QueryError(f"The event at {at} reaches {reached}{meant}.")
        if kind == "no keys":
            return ProjectionError(
                f"{name} raised where it was asked which document the event at {at} is for:"
                f" {header['error']}."
            )
        if kind == "no debugpy":
            python = self._wanted.python
            return QueryError(
                f"{python} has no debugpy, which an IDE needs;"
                f" `{python} -m pip install debugpy` brings it."
            )
        if kind == "no port":
            return QueryError(
                f"Nothing can listen on port {self._wish.port}: {header['error']};"
                " give another one with --port."
            )
        if kind == "unusable":
            return worker_process.unloadable(self._wanted, header)
        return BrokenFrameError(f"a frame {kind!r} where the handler is stepped through")

    def _send(self, header: dict[str, Any], parts: tuple[Any, ...]) -> None:
        with contextlib.suppress(BrokenPipeError):
            wire.send(self._to_child, header, parts)

    def _receive(self) -> Frame:
        self._terminal.pump(self._wake)
        os.read(self._wake, 1)
        self._terminal.drain()
        frame = self._frames.get()
        if isinstance(frame, wire.ClosedError):
            raise ProjectionError(
                f"{self._wanted.name} {worker_process.death(self._process)} while it was stepped through."
            ) from None
        if isinstance(frame, BaseException):
            raise frame
        return frame

    def _hear(self) -> None:
        """Read frames, in a thread, until there are no more."""
        with self._from_child:
            while True:
                try:
                    frame: Frame | BaseException = receive_frame(self._from_child)
                except (wire.ClosedError, ProjectionError) as error:
                    frame = error
                except OSError:
                    frame = wire.ClosedError()
                self._frames.put(frame)
                os.write(self._waker, b"+")
                if isinstance(frame, BaseException):
                    return


def _check_json(*texts: str | None) -> None:
    """Raise `BrokenFrameError` where a text isn't JSON."""
    try:
        for text in texts:
            if text is not None:
                json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenFrameError("a state that isn't JSON") from None
