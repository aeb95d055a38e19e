"""The session of a fold: answers each batch that the parent sends with what its events changed."""

from __future__ import annotations

import gc
from typing import Any, BinaryIO, Dict, List

from ..environment import imported_code, memory_limit
from ..environment.worker_environment import WorkerEnvironment
from ..protocol import wire
from ..protocol.channel import ParentChannel
from ..protocol.event import EventBatch
from ..protocol.line_protocol import ProtocolError
from ..protocol.output_capture import OutputCapture
from . import result_frame
from .documents import LossyEncodingError
from .result import FoldEngine, OutOfMemoryError, ResultColumns

_MIN_LIMITED_DOCUMENTS = 20_000
"""Number of documents that a worker may hold whatever memory they take."""
_COOLING_STEPS = 8
"""Each time memory grows by this fraction (1/N) of the budget, compact unchanged documents."""
_BATCHES_PER_COLLECTION = 8
"""Run the garbage collector after every Nth batch; after every batch once it has found cycles."""


class FoldSession:
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
        calls, reads = self._environment.take_reports()
        header, parts = result_frame.encode_result(result, calls, is_routed=self._engine.is_routed)
        header.update(
            count=batch.event_count,
            printed=self._output_capture.take_texts(),
            routed=self._engine.is_routed,
            reads=reads,
        )
        self._channel.send(header, tuple(parts))


def restore_documents(engine: Any, header: Any, parts: List[bytes], keys: List[str]) -> None:
    """Restore documents from the parent's answer: from their states, or by folding their events.

    `keys` are all that were asked for; a key that the answer lacks has no document yet.
    """
    changes: Dict[str, int] = header["changes"]
    if header["kind"] == "events":
        engine.refold(EventBatch(header, parts, engine.decode), keys, changes)
    else:
        for (key, change), text in zip(
            changes.items(), result_frame.split_texts(parts[0], parts[1])
        ):
            engine.resume(key, change, text)
        for large_document, lengths, blob in zip(header["in_parts"], parts[2::2], parts[3::2]):
            rows = zip(
                large_document["paths"],
                map(tuple, large_document["places"]),
                result_frame.split_texts(lengths, blob),
            )
            engine.resume(
                large_document["key"],
                large_document["change"],
                None,
                (rows, large_document["following"]),
            )
    engine.add_absent_documents(keys)
