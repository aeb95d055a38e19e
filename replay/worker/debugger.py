"""One event, handled under a debugger: in the terminal with pdb, or from an IDE through debugpy.

It is shut in as every worker is. The one listener that an IDE needs is opened before that, on the
loopback, and said on standard error; nothing else gets out, and nothing is kept of what is done.
"""

from __future__ import annotations

import bdb
import importlib
import json
import os
import pdb
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO, Dict, List, Optional

from . import main as main_module
from .environment import imports
from .environment.environment import Surroundings
from .fold import contract, fold_loop
from .fold.documents import Document
from .protocol import encoding, wire
from .protocol.channel import Line
from .protocol.event import DELETED, Batch, decoder, event_of
from .protocol.tracebacks import summary, user_frames, user_traceback

_HOST = "127.0.0.1"
_NOT_THEIRS = ["refold_worker", "refold_worker.*", "bdb", "pdb"]


class _Pdb(pdb.Pdb):
    """Stops in the user's code only."""

    def __init__(self) -> None:
        super().__init__(skip=_NOT_THEIRS)
        self.left = False
        """The person left before the handler returned."""

    def set_quit(self) -> None:
        self.left = True
        super().set_quit()

    def get_stack(self, f: Any, t: Any) -> Any:
        stack, place = super().get_stack(f, t)
        theirs = [
            (frame, line)
            for frame, line in stack
            if not self.is_skipped_module(frame.f_globals.get("__name__") or "")
        ]
        return (theirs, max(place - (len(stack) - len(theirs)), 0)) if theirs else (stack, place)


def main() -> None:
    """Run with the parent's specification, a JSON object, as the first argument."""
    spec = json.loads(sys.argv[1])
    sys.argv = [spec["reference"]]
    outgoing = os.fdopen(spec["outgoing"], "wb")
    answers = os.fdopen(spec["answers"], "rb")
    threading.Thread(target=main_module.follow_parent, args=(os.getppid(),), daemon=True).start()
    imports.hide_ours()
    debugger: Any = _Pdb()
    try:
        if spec["port"] is not None:
            debugger = _listening(spec["port"])
    except (ImportError, OSError, RuntimeError) as error:
        kind = "no debugpy" if isinstance(error, ImportError) else "no port"
        wire.send(outgoing, {"kind": kind, "error": summary(error)})
        return
    if spec["port"] is not None:
        _shut_in()
    sys.path.insert(0, spec["cwd"])
    mark = [main_module.LOADING, 0]
    line = Line(outgoing, answers)
    around = Surroundings(mark, line, spec)
    around.enter()
    around.close()
    try:
        projection = contract.load(spec["reference"], around.gateway)
    except BaseException as error:
        wire.send(outgoing, {"kind": "unusable", **main_module.told(error)})
        return
    try:
        step = _Step(projection, debugger, around, mark, outgoing, answers)
        step.run(spec["key"], spec["preferred"])
    except (wire.ClosedError, BrokenPipeError):
        return


def _shut_in() -> None:
    """As the launcher does with every other; this process had to listen before it."""
    with suppress(ImportError):  # some Pythons are built without ctypes
        from .environment import launcher  # noqa: PLC0415 - as above

        launcher.shut(all_threads=True)


def _listening(port: int) -> Any:
    debugpy = importlib.import_module("debugpy")  # the user's, where it is installed

    # In this process: another one would be a way out of the clean room.
    host, port = debugpy.listen((_HOST, port), in_process_debug_adapter=True)
    print(
        f"Waiting for an IDE at {host}:{port}; this process listens there and nowhere else.",
        file=sys.stderr,
        flush=True,
    )
    debugpy.wait_for_client()
    return debugpy


class _Step:
    """The event that the parent sends, through the handler of one document."""

    def __init__(
        self,
        projection: contract.Projection,
        debugger: Any,
        around: Surroundings,
        mark: List[int],
        outgoing: BinaryIO,
        answers: BinaryIO,
    ) -> None:
        self._projection = projection
        self._debugger = debugger
        self._around = around
        self._mark = mark
        self._outgoing, self._answers = outgoing, answers
        self._decode = decoder(decimals=projection.decimals)
        self._folder = fold_loop.Folder(projection, self._decode, mark, around.calls, careful=True)

    def run(self, wanted: Optional[str], preferred: Optional[str]) -> None:
        header, parts = wire.receive(self._answers)
        batch = Batch(header, parts, self._decode)
        self._at(batch, None)
        try:
            event = self._event(batch)
            keys = self._projection.keys(event)
        except Exception as error:
            self._send("no keys", error=summary(error))
            return
        if self._projection.own(event.type, "") is None:
            self._send("no handler", type=event.type)
        elif not keys or (wanted is not None and wanted not in keys):
            self._send("no key", keys=keys)
        else:
            chosen = preferred if wanted is None else wanted
            self._step(batch, keys[0] if chosen is None or chosen not in keys else chosen)

    def _step(self, batch: Batch, key: str) -> None:
        document = self._recalled(key)
        self._at(batch, key)
        event = self._event(batch)
        function, (first, named) = self._projection.own(event.type, key) or (None, ([], {}))
        raised: Optional[BaseException] = None
        after = document.text
        try:
            state = self._projection.initial(key) if document.text is None else document.state
            returned = self._run(function, state, event, first, named)
            if self._around.calls.refused:
                self._around.calls.raise_refused()
            state = state if returned is None else returned
            after = None if returned is DELETED else _written(state)
        except (bdb.BdbQuit, pdb.Restart):
            self._send("left")
            return
        except KeyboardInterrupt:
            self._send("interrupted")
            return
        except BaseException as error:
            raised = error
        self._tell(key, document.text, after, raised)
        trace = None if raised is None else user_frames(raised)
        if trace is not None and isinstance(self._debugger, _Pdb):
            wire.receive(self._answers)
            _post_mortem(trace)
        self._send("done")

    def _run(
        self, function: Any, state: Any, event: Any, first: List[Any], named: Dict[str, Any]
    ) -> Any:
        if isinstance(self._debugger, _Pdb):
            returned = self._debugger.runcall(function, state, event, *first, **named)
            returned = contract.finished(returned)
            if self._debugger.left:
                raise bdb.BdbQuit
            return returned
        code = getattr(function, "__code__", None)
        if code is not None:
            place = f"{code.co_filename}:{code.co_firstlineno}"
            print(f"Before the handler ({place}): step into it.", file=sys.stderr, flush=True)
        self._debugger.breakpoint()
        return contract.finished(function(state, event, *first, **named))

    def _at(self, batch: Batch, key: Optional[str]) -> None:
        """The event is being handled from now on, for a document."""
        self._mark[0] = batch.offset(0)
        self._around.calls.begin(batch)
        self._around.calls.key = key

    def _event(self, batch: Batch) -> Any:
        event = event_of(batch, 0, batch.data_of(0))
        upcast = self._projection.upcast
        return event if upcast is None else upcast(event)

    def _recalled(self, key: str) -> Document:
        """The document before the event."""
        routed = self._projection.routed
        careful = self._projection.decimals
        self._send("ask", key=key, routed=routed, events=careful)
        header, parts = wire.receive(self._answers)
        stopping, sys.breakpointhook = sys.breakpointhook, _pass_by
        try:
            main_module.take_up(self._folder, header, parts, [key])
        finally:
            sys.breakpointhook = stopping
        document = self._folder.document(key)
        if document.parts is not None:
            # Who steps through a handler wants to see a dict, and has time.
            document.state = document.parts.whole(None)
            document.text = _written(document.state)
        return document

    def _tell(
        self,
        key: str,
        before: Optional[bytes],
        after: Optional[bytes],
        raised: Optional[BaseException],
    ) -> None:
        self._send(
            "stepped",
            key=key,
            before=None if before is None else before.decode(),
            after=None if after is None else after.decode(),
            traceback=None if raised is None else user_traceback(raised),
        )

    def _send(self, kind: str, **told: Any) -> None:
        # What was printed comes before what the parent says to this.
        sys.stdout.flush()
        sys.stderr.flush()
        wire.send(self._outgoing, {"kind": kind, **told})


def _written(state: Any) -> bytes:
    """A state as JSON; a large one soon, where it may be."""
    plain = encoding.is_plain(state)
    text: bytes = encoding.plain_encoder()(state) if plain else encoding.encode(state)
    return text


def _post_mortem(trace: Any) -> None:
    debugger = _Pdb()
    debugger.reset()
    try:
        debugger.interaction(None, trace)
    except (bdb.BdbQuit, KeyboardInterrupt):
        return


def _pass_by(*_: Any, **__: Any) -> None:
    """A `breakpoint()` in the events before means nothing."""
