"""The worker's main loop: one frame in, one frame out, until the parent closes the pipe.

The protocol has its own pipes, because handlers may print to the standard streams.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import threading
import time
from typing import Any, BinaryIO, Dict

from .environment import imported_code, imports, memory_limit
from .environment.worker_environment import WorkerEnvironment
from .fold import contract, fast_path, fold_loop, payload_decoder, program, relation_function
from .fold.aggregates import AggregateError
from .fold.documents import DocumentShare
from .fold.fold_session import FoldSession
from .fold.probes import Probe
from .fold.result import FoldEngine
from .protocol import tracebacks, user_code, wire
from .protocol.channel import ParentChannel
from .protocol.event import build_decoder
from .protocol.line_protocol import ProgramConnection, ProtocolError
from .protocol.output_capture import OutputCapture

LOADING_OFFSET = -1
"""Offset in the shared page while the worker loads the projection, before the first event."""


def main() -> None:
    """Run the worker. The only argument is the parent's specification, a JSON object."""
    spec = json.loads(sys.argv[1])
    sys.argv = [spec["reference"]]
    incoming = os.fdopen(spec["incoming"], "rb", buffering=1 << 20)
    outgoing = os.fdopen(spec["outgoing"], "wb", buffering=1 << 20)
    answers = os.fdopen(spec["answers"], "rb", buffering=1 << 20)
    current_event = memoryview(mmap.mmap(spec["mark"], mmap.PAGESIZE)).cast("q")
    os.close(spec["mark"])
    current_event[0] = LOADING_OFFSET
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    imports.hide_refold_packages()
    imported_code.watch()
    sys.path.insert(0, spec["cwd"])
    output_capture = OutputCapture(current_event)
    output_capture.start()
    try:
        if spec["memory"]:
            memory_limit.limit_memory(spec["memory"])
        session = _build_session(spec, output_capture, current_event, incoming, outgoing, answers)
    except BaseException as error:
        wire.send_frame(outgoing, {"kind": "unusable", **describe_load_error(error)})
        return
    try:
        session.run()
    except (wire.ConnectionClosedError, BrokenPipeError):
        return


def exit_with_parent(parent: int) -> None:
    """Wait until the parent has ended, then end this process.

    A handler that never returns would not notice that the pipes are closed.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.getpgrp() == os.getpid():
        # A program that this process started ends with it.
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _build_session(
    spec: Dict[str, Any],
    output_capture: OutputCapture,
    current_event: Any,
    incoming: BinaryIO,
    outgoing: BinaryIO,
    answers: BinaryIO,
) -> Any:
    """Return the session for the specification: a payload decoder, `project(events)`, or a fold."""
    channel = ParentChannel(outgoing, answers)
    environment = WorkerEnvironment(current_event, channel, spec)
    if spec["unpacks"]:
        environment.lock_down()
        return payload_decoder.DecoderSession(
            payload_decoder.load_decoder(spec["reference"]), current_event, incoming, outgoing
        )
    if spec["projects"]:
        environment.lock_down()
        query = relation_function.load_relation_function(spec["reference"])
        ready = {
            "files": imported_code.hashes(user_code.list_user_files()),
            "python": fold_loop.describe_runtime(),
            **query.declared,
        }
        return relation_function.RelationSession(
            query, ready, current_event, incoming, outgoing, answers
        )
    return FoldSession(
        _build_fold_engine(spec, current_event, environment),
        environment,
        output_capture,
        spec,
        incoming,
        channel,
    )


def _build_fold_engine(
    spec: Dict[str, Any], current_event: Any, environment: WorkerEnvironment
) -> FoldEngine:
    """Return the engine: the user's Python code in this process, or a connection to a program."""
    if spec["command"]:
        # A program may read its files at any time, so note them before and after it starts.
        files = program.files(spec["command"])
        imported_code.note_files(files)
        connection = ProgramConnection(spec["command"])
        environment.lock_down()
        engine = program.ProgramFoldEngine(
            connection, current_event, spec["name"], resuming=spec["resuming"]
        )
        imported_code.note_files(files)
        return engine
    environment.install()
    environment.lock_down()
    projection = contract.load_projection(spec["reference"], environment.gateway)
    # JSON writes a decimal as a number and brings it back as a float, so encode exactly.
    exact_encoding = spec["careful"] or projection.uses_decimals
    decode = build_decoder(decimals=projection.uses_decimals)
    share = DocumentShare(spec["part"], spec["parts"])
    probe = Probe(spec["probe"]) if spec["probe"] else None
    return fast_path.build_fold_engine(
        projection,
        decode,
        current_event,
        environment.calls,
        careful=exact_encoding,
        share=share,
        probe=probe,
    )


def describe_load_error(error: BaseException) -> Dict[str, Any]:
    """Return `error`, one line for the user, and `traceback`, empty if refold raised the error."""
    if isinstance(
        error,
        (
            contract.ContractError,
            AggregateError,
            ProtocolError,
            relation_function.RelationFunctionError,
        ),
    ):
        return {"error": str(error), "traceback": ""}
    # The summary of a syntax error quotes the source line; its message names the file.
    message = str(error) if isinstance(error, SyntaxError) else ""
    summary = f"{type(error).__name__}: {message}" if message else tracebacks.summarize_error(error)
    location = "" if message else tracebacks.describe_location(error, user_code.list_user_files())
    first = (summary.splitlines() or [""])[0] + (f" ({location})" if location else "")
    return {"error": first, "traceback": tracebacks.format_user_traceback(error)}
