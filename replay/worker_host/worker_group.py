"""Several workers on one fold, each with its own share of the documents.

If a document is its events' stream, each worker gets only the events of its share, chosen by DuckDB's
hash of the stream. If a projection routes, every worker gets all events and handles the documents of its
share. A single worker's share is everything.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from replay.projection import projection_reference as references
from replay.projection.projection_reference import Reference
from replay.worker_host import event_frame
from replay.worker_host.batch_result import (
    BatchMerger,
    BatchResult,
    check_numbers,
    decode_batch_result,
)
from replay.worker_host.gateway_bridge import GatewayBridge
from replay.worker_host.sandbox import IsolationLevel
from replay.worker_host.worker_frames import BrokenFrameError, Frame, answer_recall_request
from replay.worker_host.worker_process import Worker, default_memory_bytes, projection_load_error
from storage.errors import ProjectionError

RecallDocuments = Callable[[Frame], tuple[dict[str, Any], tuple[Any, ...]]]
"""Returns the documents that a worker asks for, as a frame."""


_STARTS = 10
"""How often to start workers if their code is saved while they import it."""


class LossyStateError(Exception):
    """A worker met a state that doesn't round-trip through JSON."""


class WorkersFullError(Exception):
    """A worker has no memory left for more documents."""

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(memory_bytes)
        self.memory_bytes = memory_bytes
        """Estimated bytes of the documents in all workers."""


def raise_if_gave_up(frame: Frame, worker_count: int = 1) -> None:
    """Raise the error with which a worker gave up; assumes that the others are equally full."""
    if frame.kind == "not plain":
        raise LossyStateError
    if frame.kind == "full":
        raise WorkersFullError(worker_count * frame.header["memory"])


class WorkerGroup:
    """A group of running workers. Use as a context manager: leaving it kills them."""

    def __init__(
        self,
        reference: Reference,
        worker_count: int,
        gateway_bridge: GatewayBridge | None = None,
        *,
        memory: int | None = None,
        room: int = 0,
        **worker_options: Any,
    ) -> None:
        """Start the workers, which share `memory` and `room` (bytes; see `Worker`).

        Their calls to the outside go through `gateway_bridge`.
        """
        worker_options |= {
            "memory": (memory or default_memory_bytes()) // worker_count,
            "room": room // worker_count,
        }
        self._reference = reference
        self._gateway_bridge = gateway_bridge
        self._worker_options = worker_options
        self._start(worker_count)
        self._is_routed = self._can_reset = False
        self._merger: BatchMerger | None = None
        self._round_trips_json: dict[int, bool | None] = {}
        """Whether the states of each ended worker round-trip through JSON; None: unknown."""
        self._has_sent = False
        self._next_change = 0
        self._resumed_change = -1
        """The highest number of a change that a worker was given to resume from."""
        self.probe_results: list[dict[str, Any]] = []
        """Results of the workers' probes, once the workers have ended."""

    def __enter__(self) -> "WorkerGroup":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, count: int) -> None:
        self._workers: list[Worker] = []
        with ExitStack() as started:
            for part in range(count):
                worker = Worker(
                    self._reference,
                    self._gateway_bridge,
                    part=part,
                    parts=count,
                    **self._worker_options,
                )
                self._workers.append(started.enter_context(worker))
            self._stack = started.pop_all()

    def wait_until_ready(self) -> Mapping[str, Any]:
        """Return what the projection reports of itself; raises `ProjectionError` if it can't be loaded.

        Starts the workers again if their code was saved while they imported it.
        """
        for _ in range(_STARTS):
            frames = [worker.receive() for worker in self._workers]
            for frame in frames:
                if frame.kind == "unusable":
                    raise projection_load_error(self._reference, frame.header)
                frame.ready_for("fold")
            files = frames[0].header["files"]
            is_same = all(frame.header["files"] == files for frame in frames)
            if is_same and references.are_files_unchanged(files):
                break
            self._stack.close()
            self._start(len(frames))
        else:
            raise ProjectionError(
                f"The code of {self._reference.name} is saved repeatedly while it is imported; save"
                " it once and run this again."
            )
        header = {**frames[0].header, "careful": any(f.header["careful"] for f in frames)}
        self._is_routed = bool(header["routed"])
        self._can_reset = bool(header["renews"])
        if len(self._workers) > 1 and self._is_routed and not header["shared"]:
            raise ProjectionError(
                f"{self._reference.name} is a program that routes events itself, so only one worker can"
                " fold it; leave --workers out."
            )
        return header

    @property
    def is_routed(self) -> bool:
        """Whether an event's document may differ from its stream."""
        return self._is_routed

    @property
    def isolation(self) -> IsolationLevel:
        """The isolation level of the workers."""
        return self._workers[0].isolation

    @property
    def can_reset(self) -> bool:
        """Whether the workers can forget their documents and start a new fold."""
        return self._can_reset

    def reset(self, gateway_bridge: GatewayBridge | None) -> None:
        """Make the workers forget all documents before the next batch; later calls go through
        `gateway_bridge`."""
        self._gateway_bridge = gateway_bridge
        for worker in self._workers:
            worker.reset(gateway_bridge)
        self._has_sent = False

    def merge_documents(self, versions: list[list[Any]]) -> list[dict[str, Any]]:
        """Return the results of the projection's `merge` for triples of base, left and right (JSON
        values): for each a `state` as JSON text, or an `error`."""
        self._workers[0].send({"kind": "merge", "versions": versions}, ())
        frame = self._workers[0].receive()
        raise_if_gave_up(frame)
        merged = frame.expected("merged").header["merged"]
        if len(merged) != len(versions) or not all({"state", "error"} & set(m) for m in merged):
            raise BrokenFrameError(f"{len(merged)} merged documents instead of {len(versions)}")
        return [dict(one) for one in merged]

    def route_events(
        self, events: pa.Table, raise_if_cancelled: Callable[[], None] = lambda: None
    ) -> list[list[str]]:
        """Return the keys that each event reaches; none for an event whose key function raises."""
        header, columns = event_frame.build_event_frame(events)
        self._workers[0].send({**header, "kind": "route"}, columns)
        frame = self._workers[0].receive(raise_if_cancelled)
        raise_if_gave_up(frame)
        routes = frame.expected("routes").header["routes"]
        if len(routes) != events.num_rows:
            raise BrokenFrameError(f"{len(routes)} routes instead of {events.num_rows}")
        return [list(keys) for keys in routes]

    @property
    def share_count(self) -> int:
        """Number of shares into which to split the events."""
        return 1 if self._is_routed else len(self._workers)

    def send_batch(
        self, events: pa.Table, first_change: int, only_keys: Collection[str] | None = None
    ) -> list[pa.Table]:
        """Send the next batch to the workers; return each worker's share, for `receive_batch`.

        `first_change` is the number of the next change, and `only_keys` limits which keys may change;
        only the first batch sends both. If `share_count` is over 1, events need a column `share`.
        """
        shares = [events] * len(self._workers)
        if self.share_count > 1:
            parts = range(len(self._workers))
            shares = [events.filter(pc.equal(events["share"], part)) for part in parts]
        for worker, share in zip(self._workers, shares, strict=True):
            answers = (
                None
                if self._gateway_bridge is None
                else self._gateway_bridge.recorded_answers(share)
            )
            header, columns = event_frame.build_event_frame(share, answers)
            if not self._has_sent:
                header["first_change"] = first_change
                if only_keys is not None:
                    header["only"] = list(only_keys)
            worker.send(header, columns)
        if not self._has_sent:
            self._next_change = first_change
        if not self._has_sent and len(self._workers) > 1:
            self._merger = BatchMerger(len(self._workers), first_change)
        self._has_sent = True
        return [share.select(["offset", "stream"]).combine_chunks() for share in shares]

    def receive_batch(
        self,
        shares: list[pa.Table],
        recall: RecallDocuments,
        raise_if_cancelled: Callable[[], None] = lambda: None,
    ) -> BatchResult | None:
        """Return the merged result of a batch; None if one of the workers ended before it.

        Raises `WorkerDiedError`, `LossyStateError` and `WorkersFullError`.
        """
        results = []
        for worker_index, share in enumerate(shares):
            frame = self._receive_share(worker_index, recall, raise_if_cancelled)
            if frame is None:
                return None
            results.append(decode_batch_result(frame, share, is_routed=self._is_routed))
        if self._merger is not None:
            return self._merger.merge_results(results)
        self._next_change = check_numbers(results[0], self._next_change, self._resumed_change)
        return results[0]

    def _receive_share(
        self, worker_index: int, recall: RecallDocuments, raise_if_cancelled: Callable[[], None]
    ) -> Frame | None:
        """Return a worker's result for its next share; None if the worker has ended."""
        worker = self._workers[worker_index]
        if worker_index in self._round_trips_json:
            return None
        asked = 0
        while (frame := worker.receive(raise_if_cancelled)).kind == "ask":
            asked += 1
            header, parts = answer_recall_request(frame, recall, asked)
            self._resumed_change = max([self._resumed_change, *header["changes"].values()])
            worker.send_answer(header, parts)
        raise_if_gave_up(frame, len(self._workers))
        if frame.expected("folded", "done").kind == "done":
            self._round_trips_json[worker_index] = frame.header.get("plain")
            self.probe_results += frame.header.get("probed", [])
            return None
        return frame

    def finish(self) -> None:
        """Tell the workers that no more batches come."""
        for worker in self._workers:
            worker.finish()

    def drop_queued(self) -> None:
        """Take back the batches that no worker has begun to read.

        A worker may be ahead of the others; its results beyond theirs are of no use.
        """
        for worker in self._workers:
            worker.drop_queued()

    def wait_until_done(
        self, recall: RecallDocuments, raise_if_cancelled: Callable[[], None] = lambda: None
    ) -> bool | None:
        """Read the remaining results; return whether all states of the workers round-trip through JSON.

        None means that a worker didn't check it.
        """
        for worker_index in range(len(self._workers)):
            while self._receive_share(worker_index, recall, raise_if_cancelled) is not None:
                pass
        answers = list(self._round_trips_json.values())
        return False if False in answers else None if None in answers else True
