"""Runs one event's handler under a debugger: in the terminal with pdb, or in an IDE with debugpy.

The process is sandboxed like every worker. debugpy's listener is opened before the sandbox, on the
loopback interface, and announced on standard error. The result is not stored.
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
from .environment.worker_environment import WorkerEnvironment
from .fold import contract, fold_loop, fold_session
from .fold.documents import HeldDocument
from .protocol import encoding, wire
from .protocol.channel import ParentChannel
from .protocol.event import DELETED, EventBatch, build_decoder, build_event
from .protocol.tracebacks import find_user_frames, format_user_traceback, summarize_error

_HOST = "127.0.0.1"
_SKIPPED_MODULES = ["refold_worker", "refold_worker.*", "bdb", "pdb"]


class _Pdb(pdb.Pdb):
    """A pdb that stops in the user's code only."""

    def __init__(self) -> None:
        super().__init__(skip=_SKIPPED_MODULES)
        self.has_left = False
        """Whether the user quit before the handler returned."""

    def set_quit(self) -> None:
        self.has_left = True
        super().set_quit()

    def get_stack(self, f: Any, t: Any) -> Any:
        stack, index = super().get_stack(f, t)
        user_stack = [
            (frame, line)
            for frame, line in stack
            if not self.is_skipped_module(frame.f_globals.get("__name__") or "")
        ]
        return (
            (user_stack, max(index - (len(stack) - len(user_stack)), 0))
            if user_stack
            else (stack, index)
        )


def main() -> None:
    """Run the debugger. The first argument is the parent's specification, a JSON object."""
    spec = json.loads(sys.argv[1])
    sys.argv = [spec["reference"]]
    outgoing = os.fdopen(spec["outgoing"], "wb")
    answers = os.fdopen(spec["answers"], "rb")
    threading.Thread(target=main_module.exit_with_parent, args=(os.getppid(),), daemon=True).start()
    imports.hide_refold_packages()
    debugger: Any = _Pdb()
    try:
        if spec["port"] is not None:
            debugger = _wait_for_ide(spec["port"])
    except (ImportError, OSError, RuntimeError) as error:
        kind = "no debugpy" if isinstance(error, ImportError) else "no port"
        wire.send_frame(outgoing, {"kind": kind, "error": summarize_error(error)})
        return
    if spec["port"] is not None:
        _restrict_process()
    sys.path.insert(0, spec["cwd"])
    current_event = [main_module.LOADING_OFFSET, 0]
    channel = ParentChannel(outgoing, answers)
    environment = WorkerEnvironment(current_event, channel, spec)
    environment.install()
    environment.lock_down()
    try:
        projection = contract.load_projection(spec["reference"], environment.gateway)
    except BaseException as error:
        wire.send_frame(outgoing, {"kind": "unusable", **main_module.describe_load_error(error)})
        return
    try:
        step = _DebugStep(projection, debugger, environment, current_event, outgoing, answers)
        step.run(spec["key"], spec["preferred"])
    except (wire.ConnectionClosedError, BrokenPipeError):
        return


def _restrict_process() -> None:
    """Sandbox this process here, not in the launcher, because it had to listen first."""
    with suppress(ImportError):  # some Pythons are built without ctypes
        from .environment import launcher  # noqa: PLC0415 - needs ctypes, which some Pythons are built without

        launcher.restrict_process(all_threads=True)


def _wait_for_ide(port: int) -> Any:
    debugpy = importlib.import_module("debugpy")  # from the user's environment

    # The adapter must run in this process: another process would be outside the sandbox.
    host, port = debugpy.listen((_HOST, port), in_process_debug_adapter=True)
    print(
        f"Waiting for an IDE at {host}:{port}; this process listens there and nowhere else.",
        file=sys.stderr,
        flush=True,
    )
    debugpy.wait_for_client()
    return debugpy


class _DebugStep:
    """Runs the handler of one document for the event that the parent sends."""

    def __init__(
        self,
        projection: contract.Projection,
        debugger: Any,
        environment: WorkerEnvironment,
        current_event: List[int],
        outgoing: BinaryIO,
        answers: BinaryIO,
    ) -> None:
        self._projection = projection
        self._debugger = debugger
        self._environment = environment
        self._current_event = current_event
        self._outgoing, self._answers = outgoing, answers
        self._decode = build_decoder(decimals=projection.uses_decimals)
        self._engine = fold_loop.PythonFoldEngine(
            projection, self._decode, current_event, environment.calls, careful=True
        )

    def run(self, requested_key: Optional[str], preferred: Optional[str]) -> None:
        header, parts = wire.receive_frame(self._answers)
        batch = EventBatch(header, parts, self._decode)
        self._enter_event(batch, None)
        try:
            event = self._build_event(batch)
            keys = self._projection.keys_of(event)
        except Exception as error:
            self._send("no keys", error=summarize_error(error))
            return
        if self._projection.find_user_function(event.type, "") is None:
            self._send("no handler", type=event.type)
        elif not keys or (requested_key is not None and requested_key not in keys):
            self._send("no key", keys=keys)
        else:
            chosen = preferred if requested_key is None else requested_key
            self._debug_handler(batch, keys[0] if chosen is None or chosen not in keys else chosen)

    def _debug_handler(self, batch: EventBatch, key: str) -> None:
        document = self._recall_document(key)
        self._enter_event(batch, key)
        event = self._build_event(batch)
        function, (first, named) = self._projection.find_user_function(event.type, key) or (
            None,
            ([], {}),
        )
        raised: Optional[BaseException] = None
        text_after = document.text
        try:
            state = self._projection.initial(key) if document.text is None else document.state
            returned = self._call_handler(function, state, event, first, named)
            if self._environment.calls.refusals:
                self._environment.calls.raise_first_refusal()
            state = state if returned is None else returned
            text_after = None if returned is DELETED else _encode_state(state)
        except (bdb.BdbQuit, pdb.Restart):
            self._send("left")
            return
        except KeyboardInterrupt:
            self._send("interrupted")
            return
        except BaseException as error:
            raised = error
        self._send_result(key, document.text, text_after, raised)
        trace = None if raised is None else find_user_frames(raised)
        if trace is not None and isinstance(self._debugger, _Pdb):
            wire.receive_frame(self._answers)
            _debug_post_mortem(trace)
        self._send("done")

    def _call_handler(
        self, function: Any, state: Any, event: Any, first: List[Any], named: Dict[str, Any]
    ) -> Any:
        if isinstance(self._debugger, _Pdb):
            returned = self._debugger.runcall(function, state, event, *first, **named)
            returned = contract.await_result(returned)
            if self._debugger.has_left:
                raise bdb.BdbQuit
            return returned
        code = getattr(function, "__code__", None)
        if code is not None:
            location = f"{code.co_filename}:{code.co_firstlineno}"
            print(f"Before the handler ({location}): step into it.", file=sys.stderr, flush=True)
        self._debugger.breakpoint()
        return contract.await_result(function(state, event, *first, **named))

    def _enter_event(self, batch: EventBatch, key: Optional[str]) -> None:
        """Mark the event as being handled, for the document `key`."""
        self._current_event[0] = batch.offset(0)
        self._environment.calls.begin_batch(batch)
        self._environment.calls.document_key = key

    def _build_event(self, batch: EventBatch) -> Any:
        event = build_event(batch, 0, batch.data_of(0))
        upcast = self._projection.upcast
        return event if upcast is None else upcast(event)

    def _recall_document(self, key: str) -> HeldDocument:
        """Return the document as it was before the event."""
        routed = self._projection.is_routed
        needs_events = self._projection.uses_decimals
        self._send("ask", key=key, routed=routed, events=needs_events)
        header, parts = wire.receive_frame(self._answers)
        breakpoint_hook, sys.breakpointhook = sys.breakpointhook, _ignore_breakpoint
        try:
            fold_session.restore_documents(self._engine, header, parts, [key])
        finally:
            sys.breakpointhook = breakpoint_hook
        document = self._engine.document(key)
        if document.parts is not None:
            # A person who steps through a handler should see a plain dict.
            document.state = document.parts.to_plain_state(None)
            document.text = _encode_state(document.state)
        return document

    def _send_result(
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
            traceback=None if raised is None else format_user_traceback(raised),
        )

    def _send(self, kind: str, **fields: Any) -> None:
        # Flush, because the parent may print when it receives this frame.
        sys.stdout.flush()
        sys.stderr.flush()
        wire.send_frame(self._outgoing, {"kind": kind, **fields})


def _encode_state(state: Any) -> bytes:
    """Return a state as JSON, with the fast encoder if the state round-trips."""
    is_plain = encoding.round_trips_json(state)
    text: bytes = (
        encoding.build_plain_encoder()(state) if is_plain else encoding.encode_exactly(state)
    )
    return text


def _debug_post_mortem(trace: Any) -> None:
    debugger = _Pdb()
    debugger.reset()
    try:
        debugger.interaction(None, trace)
    except (bdb.BdbQuit, KeyboardInterrupt):
        return


def _ignore_breakpoint(*_: Any, **__: Any) -> None:
    """Ignore `breakpoint()` while the events before are folded again."""
