"""The worker's main loop: one frame in, one frame out, until the parent closes the pipe.

The protocol has its own pipes, because handlers may print to the standard streams.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import signal
import struct
import sys
import threading
import time
from array import array
from typing import Any, BinaryIO, Dict, Iterator, List, Optional

from .environment import imported_code, imports, memory_limit
from .environment.worker_environment import WorkerEnvironment
from .fold import contract, fast_path, fold_loop, payload_decoder, program, relation_function
from .fold.aggregates import AggregateError
from .fold.documents import DocumentShare, LossyEncodingError
from .fold.probes import Probe
from .fold.result import FoldEngine, OutOfMemoryError, ResultColumns
from .protocol import tracebacks, user_code, wire
from .protocol.channel import ParentChannel
from .protocol.event import EventBatch, build_decoder
from .protocol.line_protocol import ProgramConnection, ProtocolError
from .protocol.output_capture import OutputCapture

LOADING_OFFSET = -1
"""Offset in the shared page while the worker loads the projection, before the first event."""
_MIN_LIMITED_DOCUMENTS = 20_000
"""Number of documents that a worker may hold whatever memory they take."""
_COOLING_STEPS = 8
"""Each time memory grows by this fraction (1/N) of the budget, compact unchanged documents."""
_BATCHES_PER_COLLECTION = 8
"""Run the garbage collector after every Nth batch; after every batch once it has found cycles."""


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
    return _FoldSession(
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


class _FoldSession:
    """Folds the batches that the parent sends and answers each with its result."""

    def __init__(
        self,
        engine: FoldEngine,
        environment: WorkerEnvironment,
        output_capture: OutputCapture,
        spec: Dict[str, Any],
        incoming: BinaryIO,
        channel: ParentChannel,
    ) -> None:
        self._engine = engine
        self._environment = environment
        self._output_capture = output_capture
        self._memory_bytes = spec["memory"]
        self._document_budget_bytes = spec["room"]
        self._initial_memory = self._memory_when_cooled = memory_limit.measure_memory()
        self._is_resuming = spec["resuming"]
        self._round_trips_json = spec["plain"] or engine.restores_from_json
        self._incoming, self._channel = incoming, channel

    def run(self) -> None:
        self._send_ready()
        # A full collection would walk through all documents each time. Collect only what a batch
        # created, and freeze what survives.
        gc.disable()
        batches, found_cycles = 0, False
        while True:
            try:
                header, parts = wire.receive_frame(self._incoming)
            except wire.ConnectionClosedError:
                break
            if header["kind"] == "anew":
                self._engine.reset()
                continue
            if header["kind"] == "merge":
                merged = self._engine.merge_documents(header["versions"])
                self._channel.send({"kind": "merged", "merged": merged})
                continue
            batch = EventBatch(header, parts, self._engine.decode)
            if header["kind"] == "route":
                self._channel.send({"kind": "routes", "routes": self._engine.route_events(batch)})
                self._output_capture.take_texts()
                self._environment.take_reports()
                continue
            if "only" in header:
                self._engine.only_keys = set(header["only"])
            if "first_change" in header:
                self._engine.set_next_change(header["first_change"])
            try:
                if self._is_resuming:
                    self._recall_documents(batch)
                    # The parent has the output and reports of these events from the first fold.
                    self._output_capture.take_texts()
                    self._environment.take_reports()
                self._send_result(batch, self._engine.fold(batch))
                del batch
                if found_cycles or batches % _BATCHES_PER_COLLECTION == 0:
                    found_cycles = gc.collect(0) > 0
                batches += 1
                gc.freeze()
                if self._is_full():
                    return
            except LossyEncodingError:
                self._channel.send({"kind": "not plain"})
                return
            except ProtocolError as error:
                self._channel.send({"kind": "broken", "what": str(error)})
                return
            except (OutOfMemoryError, MemoryError):
                what = f"used up the {self._memory_bytes / 1e6:,.0f} MB that it may take (--memory)"
                self._channel.send({"kind": "broken", "what": what})
                return

        try:
            report = {
                "plain": self._engine.all_round_trip_json(),
                "probed": self._engine.take_probe_findings(),
            }
        except LossyEncodingError:
            self._channel.send({"kind": "not plain"})
        else:
            self._channel.send({"kind": "done", **report})

    def _is_full(self) -> bool:
        """Return whether the documents exceed the memory budget; tell the parent if they do."""
        memory = (
            memory_limit.measure_memory()
            if self._document_budget_bytes and self._engine.held_documents > _MIN_LIMITED_DOCUMENTS
            else 0
        )
        if memory > self._memory_when_cooled + self._document_budget_bytes // _COOLING_STEPS:
            self._engine.release_memory()
            self._memory_when_cooled = memory
        if memory <= self._document_budget_bytes:
            return False
        self._channel.send({"kind": "full", "memory": memory - self._initial_memory})
        return True

    def _send_ready(self) -> None:
        engine = self._engine
        report: Dict[str, Any] = {
            "name": engine.name,
            "files": imported_code.hashes(engine.list_files()),
            "python": engine.runtime,
        }
        report.update(
            invariants=engine.invariant_conditions,
            careful=engine.uses_exact_encoding,
            routed=engine.is_routed,
            shared=engine.can_share_documents,
            renews=engine.can_reset,
            merges=engine.can_merge,
        )
        self._channel.send({"kind": "ready", **report})

    def _recall_documents(self, batch: EventBatch) -> None:
        """Ask the parent for the documents that the batch reaches and that this process lacks."""
        missing = self._engine.find_missing_keys(batch)
        if not missing:
            return
        request = {"kind": "ask", "keys": missing, "events": not self._round_trips_json}
        header, parts = self._channel.request(request)
        restore_documents(self._engine, header, parts, missing)

    def _send_result(self, batch: EventBatch, result: ResultColumns) -> None:
        states = result.states
        lengths = _pack_lengths(states)
        header = {
            "kind": "folded",
            "count": batch.event_count,
            "failures": result.failures,
            "turns": result.invariant_transitions,
            "skipped": result.unhandled_by_type,
            "upcasts": result.upcasts,
            "printed": self._output_capture.take_texts(),
            "routed": self._engine.is_routed,
        }
        rows, previous = (
            _pack_numbers("i", result.event_rows),
            _pack_numbers("q", result.previous_changes),
        )
        parts: List[Any] = [rows, lengths, _join_texts(states), previous]
        if self._engine.is_routed:
            parts += [
                *_encode_coded_texts(result.keys),
                result.route_rows,
                *_encode_coded_texts(result.route_keys),
            ]
            parts += [result.key_places, result.route_places]
        part_columns = result.part_columns
        if part_columns.paths:
            paths = "\0".join(part_columns.paths).encode()  # NUL is in no path
            parts += [
                _pack_numbers("i", part_columns.change_rows),
                paths,
                part_columns.placed_rows,
                part_columns.depths,
                part_columns.place_numbers,
            ]
            parts += [_pack_lengths(part_columns.states), _join_texts(part_columns.states)]
        calls, header["reads"] = self._environment.take_reports()
        header["decided"] = calls.call_decisions
        header["called"] = len(calls.recording_numbers)
        if calls.recording_numbers:
            parts += [
                calls.event_rows,
                calls.ordinals,
                calls.recording_numbers,
                calls.command_flags,
                *_encode_coded_texts(calls.keys),
            ]
        self._channel.send(header, tuple(parts))


def restore_documents(engine: Any, header: Any, parts: List[bytes], keys: List[str]) -> None:
    """Restore documents from the parent's answer: from their states, or by folding their events.

    `keys` are all that were asked for; a key that the answer lacks has no document yet.
    """
    changes: Dict[str, int] = header["changes"]
    if header["kind"] == "events":
        engine.refold(EventBatch(header, parts, engine.decode), keys, changes)
    else:
        for (key, change), text in zip(changes.items(), _split_texts(parts[0], parts[1])):
            engine.resume(key, change, text)
        for large_document, lengths, blob in zip(header["in_parts"], parts[2::2], parts[3::2]):
            rows = zip(
                large_document["paths"],
                map(tuple, large_document["places"]),
                _split_texts(lengths, blob),
            )
            engine.resume(
                large_document["key"],
                large_document["change"],
                None,
                (rows, large_document["following"]),
            )
    engine.unborn(keys)


def _pack_numbers(kind: str, numbers: List[int]) -> bytes:
    """Return the bytes of `array(kind, numbers)`; `struct` takes half the time of `array`."""
    return struct.pack("%d%s" % (len(numbers), kind), *numbers)


def _pack_lengths(texts: List[Optional[bytes]]) -> Any:
    """Return the length of each text in bytes; -1 for None."""
    try:
        return array("i", map(len, texts))  # type: ignore[arg-type]
    except TypeError:
        return array("i", [-1 if text is None else len(text) for text in texts])


def _join_texts(texts: List[Optional[bytes]]) -> bytes:
    try:
        return b"".join(texts)  # type: ignore[arg-type]
    except TypeError:
        return b"".join([text for text in texts if text is not None])


def _split_texts(lengths: bytes, blob: bytes) -> Iterator[Optional[bytes]]:
    """Yield the texts in a blob by their lengths; None for a length of -1."""
    numbers = array("i")
    numbers.frombytes(lengths)
    at = 0
    for length in numbers:
        yield None if length < 0 else blob[at : at + length]
        at += max(length, 0)


def _encode_coded_texts(texts: List[Any]) -> List[Any]:
    """Return the JSON list of the distinct texts, and an array with the index of each text in it."""
    codes: Dict[str, int] = {}
    numbers = array("i", [codes.setdefault(text, len(codes)) for text in texts])
    return [json.dumps(list(codes)).encode(), numbers]


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
