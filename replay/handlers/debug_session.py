"""Stepping into one event's handler: a process of the user's interpreter, with the terminal as its own.

It is given the event, and the document as it was before it: from its JSON where the history is
known to be plain, else from the document's own events. Neither the workspace nor the history
changes.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from replay.event_fold import state_recall
from replay.history import catalogue
from replay.history.catalogue import Folded
from replay.projection.declaration import over_all_events
from replay.projection.reference import Reference
from replay.worker.protocol import wire
from replay.worker_host import event_frame, worker_process
from replay.worker_host.gateway_bridge import Calling
from replay.worker_host.sandbox import Cell
from replay.worker_host.sigint import undisturbed
from replay.worker_host.worker_frames import Frame, receive_frame
from storage.db.query import arrow
from storage.errors import CancelledError, PositionError, ProjectionError, QueryError
from storage.log.positions import START
from storage.log.tombstones import HANDLED
from storage.workspace.workspace import Workspace


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
) -> None:
    """Run the handler under a debugger; `told` is called when it has returned or raised.

    Raises `QueryError` where no handler takes the event to that
    document or no IDE can be waited for, `ProjectionError` where the projection can't be run, and
    `CancelledError` where the person interrupted it.
    """
    with _Session(workspace, wanted, folded, wish) as session:
        session.run(told)


class _Session:
    """The process and the pipes to it."""

    def __init__(self, workspace: Workspace, wanted: Reference, folded: Folded, wish: Wish) -> None:
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
        try:
            # No session of its own: it shares the terminal with us.
            command = [wanted.python, str(worker_process.WORKER), json.dumps(spec), "step"]
            start = subprocess.Popen if wish.port is not None else _shut_in
            self._process = start(
                command,
                pass_fds=(outgoing, answers),
                cwd=wanted.cwd,
                env=worker_process.environment(),
            )
        except OSError as error:
            os.close(from_child)
            os.close(to_child)
            raise worker_process.unstartable(wanted, error) from error
        finally:
            os.close(outgoing)
            os.close(answers)
        self._from_child = os.fdopen(from_child, "rb")
        self._to_child = os.fdopen(to_child, "wb")

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._calling.__exit__()
        for stream in (self._to_child, self._from_child):
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, told: Callable[[Stepped], None]) -> None:
        with undisturbed():
            self._send(*event_frame.frame(self._event()))
            while (frame := self._receive()).kind not in ("done", "left"):
                header = frame.header
                if frame.kind == "ask":
                    self._send(*self._recalled(header))
                elif frame.kind == "call":
                    self._send(*self._calling.reply(header, frame.parts))
                elif frame.kind == "stepped":
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
        return worker_process.unloadable(self._wanted, header)

    def _send(self, header: dict[str, Any], parts: tuple[Any, ...]) -> None:
        with contextlib.suppress(BrokenPipeError):
            wire.send(self._to_child, header, parts)

    def _receive(self) -> Frame:
        try:
            return receive_frame(self._from_child)
        except wire.ClosedError:
            raise ProjectionError(
                f"{self._wanted.name} {worker_process.death(self._process)} while it was stepped through."
            ) from None


def _shut_in(command: list[str], **wishes: Any) -> "subprocess.Popen[bytes]":
    return Cell(command, lambda _: None, **wishes).process
