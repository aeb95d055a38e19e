"""The worker's main loop: one frame in, one frame out, until the parent closes the pipe.

What a handler prints goes to the standard streams, which are not the protocol's.
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
from .environment.environment import WorkerEnvironment
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
"""What the page of the mark says before the first event; before that, not even Python has begun."""
_MIN_LIMITED_DOCUMENTS = 20_000
"""Documents that may take any room: fewer workers hold no fewer of them."""
_COOLING_STEPS = 8
"""What has not changed for long takes less room after each so manieth part of it that is taken."""
_BATCHES_PER_COLLECTION = 8
"""Every so manieth batch is looked at by the collector, until it finds something."""


def main() -> None:
    """Run with the parent's specification, a JSON object, as the only argument."""
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
    """End with the parent: a handler that never returns doesn't notice that its pipes are closed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.getpgrp() == os.getpid():
        # And with this process a program that it has started.
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
    """What is done for the parent: a fold, or documents of all events."""
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
        _build_folder(spec, current_event, environment),
        environment,
        output_capture,
        spec,
        incoming,
        channel,
    )


def _build_folder(
    spec: Dict[str, Any], current_event: Any, environment: WorkerEnvironment
) -> FoldEngine:
    """What folds: the user's Python code in this process, or a program that this one speaks to."""
    if spec["command"]:
        # Nobody knows when a program reads its files: they have to be the same before and after.
        files = program.files(spec["command"])
        imported_code.note_files(files)
        connection = ProgramConnection(spec["command"])
        environment.lock_down()
        folder = program.ProgramFoldEngine(
            connection, current_event, spec["name"], resuming=spec["resuming"]
        )
        imported_code.note_files(files)
        return folder
    environment.install()
    environment.lock_down()
    projection = contract.load_projection(spec["reference"], environment.gateway)
    # Decimals look like numbers in JSON and come back as floats, so they are never plain.
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
        # The collector would walk through all documents again and again. It looks at what a batch
        # has made, at every one if that had cycles in it, and what lives on is put out of its sight.
        gc.disable()
        batches, cycles = 0, False
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
                    # What was printed for it was told when it was handled for the first time.
                    self._output_capture.take_texts()
                    self._environment.take_reports()
                self._send_result(batch, self._engine.fold(batch))
                del batch
                if cycles or batches % _BATCHES_PER_COLLECTION == 0:
                    cycles = gc.collect(0) > 0
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
        """Whether there is no room for more documents, which then is told."""
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
        """Ask for the documents that the batch reaches and that this process hasn't met."""
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
    """Take documents up from what the parent answered: their states, or their own events."""
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
    """Numbers as an array of that kind holds them, made in half the time that an array takes."""
    return struct.pack("%d%s" % (len(numbers), kind), *numbers)


def _pack_lengths(texts: List[Optional[bytes]]) -> Any:
    """As they are told; -1 stands for what isn't there."""
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
    """Texts of these lengths, one after the other; None where there is none."""
    numbers = array("i")
    numbers.frombytes(lengths)
    at = 0
    for length in numbers:
        yield None if length < 0 else blob[at : at + length]
        at += max(length, 0)


def _encode_coded_texts(texts: List[Any]) -> List[Any]:
    """Texts as the JSON list of the distinct ones and the code of each."""
    codes: Dict[str, int] = {}
    numbers = array("i", [codes.setdefault(text, len(codes)) for text in texts])
    return [json.dumps(list(codes)).encode(), numbers]


def describe_load_error(error: BaseException) -> Dict[str, Any]:
    """Why a projection can't be loaded."""
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
    # A syntax error's summary draws its line; what it says of itself names the file.
    message = str(error) if isinstance(error, SyntaxError) else ""
    summary = f"{type(error).__name__}: {message}" if message else tracebacks.summarize_error(error)
    location = "" if message else tracebacks.describe_location(error, user_code.list_user_files())
    first = (summary.splitlines() or [""])[0] + (f" ({location})" if location else "")
    return {"error": first, "traceback": tracebacks.format_user_traceback(error)}
