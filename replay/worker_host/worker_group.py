"""Several workers on one fold, each with its own share of the documents.

Where a document is its events' stream, a worker gets the events of its share only, told apart by
DuckDB's hash of the stream. Where a projection routes, all get all events, and each handles the
documents of its share. With one worker everything is its share.
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
from replay.worker_host.worker_frames import BrokenFrameError, Frame, answer_asked
from replay.worker_host.worker_process import Worker, default_memory_bytes, projection_load_error
from storage.errors import ProjectionError

RecallDocuments = Callable[[Frame], tuple[dict[str, Any], tuple[Any, ...]]]
"""What gives a worker the documents that it asks for."""


_STARTS = 10
"""How often workers are started whose code is saved while they import it."""


class LossyStateError(Exception):
    """A worker met a state that JSON can't bring back."""


class WorkersFullError(Exception):
    """A worker has no room for more documents."""

    def __init__(self, memory_bytes: int) -> None:
        super().__init__(memory_bytes)
        self.memory_bytes = memory_bytes
        """Bytes that all workers take for those that they hold."""


def raise_if_gave_up(frame: Frame, worker_count: int = 1) -> None:
    """Raise what a worker gives up with; the others are thought to be as full as it is."""
    if frame.kind == "not plain":
        raise LossyStateError
    if frame.kind == "full":
        raise WorkersFullError(worker_count * frame.header["memory"])


class WorkerGroup:
    """Running workers. Use as a context manager: leaving it kills them."""

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
        """Start `count` workers, for all of which `memory` and `room` are; see `Worker`.

        What they call of the outside goes through `calling`.
        """
        worker_options |= {
            "memory": (memory or default_memory_bytes()) // worker_count,
            "room": room // worker_count,
        }
        self._reference = reference
        self._gateway_bridge = gateway_bridge
        self._wishes = worker_options
        self._start(worker_count)
        self._is_routed = self._can_reset = False
        self._merger: BatchMerger | None = None
        self._round_trips_json: dict[int, bool | None] = {}
        """What those that have ended said of their states; see `Folded.plain`."""
        self._has_sent = False
        self._next_change = 0
        self._resumed_change = -1
        """The highest number of a change that a worker was given to resume from."""
        self.probe_results: list[dict[str, Any]] = []
        """What their probes have found, once they have ended."""

    def __enter__(self) -> "WorkerGroup":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, count: int) -> None:
        self._workers: list[Worker] = []
        with ExitStack() as started:
            for part in range(count):
                worker = Worker(
                    self._reference, self._gateway_bridge, part=part, parts=count, **self._wishes
                )
                self._workers.append(started.enter_context(worker))
            self._stack = started.pop_all()

    def wait_until_ready(self) -> Mapping[str, Any]:
        """What the projection says of itself; raises `ProjectionError` where it can't be loaded.

        Workers that imported code which was saved meanwhile are started again.
        """
        for _ in range(_STARTS):
            frames = [worker.receive() for worker in self._workers]
            for frame in frames:
                if frame.kind == "unusable":
                    raise projection_load_error(self._reference, frame.header)
                frame.ready_for("fold")
            files = frames[0].header["files"]
            same = all(frame.header["files"] == files for frame in frames)
            if same and references.are_files_unchanged(files):
                break
            self._stack.close()
            self._start(len(frames))
        else:
            raise ProjectionError(
                f"The code of {self._reference.name} is saved again and again while it is imported; save"
                " it once and run this again."
            )
        header = {**frames[0].header, "careful": any(f.header["careful"] for f in frames)}
        self._is_routed = bool(header["routed"])
        self._can_reset = bool(header["renews"])
        if len(self._workers) > 1 and self._is_routed and not header["shared"]:
            raise ProjectionError(
                f"{self._reference.name} is a program that routes by itself, so only one worker can fold it;"
                " leave --workers out."
            )
        return header

    @property
    def is_routed(self) -> bool:
        """Whether an event's stream needn't be its document."""
        return self._is_routed

    @property
    def isolation(self) -> IsolationLevel:
        """How far they are shut in."""
        return self._workers[0].isolation

    @property
    def can_reset(self) -> bool:
        """Whether they can forget their documents and begin anew."""
        return self._can_reset

    def reset(self, gateway_bridge: GatewayBridge | None) -> None:
        """Let them forget all documents, before anything else is sent; what they call goes through
        `calling` then."""
        self._gateway_bridge = gateway_bridge
        for worker in self._workers:
            worker.reset(gateway_bridge)
        self._has_sent = False

    def merge_documents(self, versions: list[list[Any]]) -> list[dict[str, Any]]:
        """What the projection's `merge` makes of base, left and right, values as JSON has them:
        for each a `state` as JSON text, or an `error`."""
        self._workers[0].send({"kind": "merge", "versions": versions}, ())
        frame = self._workers[0].receive()
        raise_if_gave_up(frame)
        merged = frame.expected("merged").header["merged"]
        if len(merged) != len(versions) or not all({"state", "error"} & set(m) for m in merged):
            raise BrokenFrameError(f"{len(merged)} merged documents where {len(versions)} are due")
        return [dict(one) for one in merged]

    def route_events(
        self, events: pa.Table, raise_if_cancelled: Callable[[], None] = lambda: None
    ) -> list[list[str]]:
        """The keys that each event reaches; none where asking for them raises."""
        header, columns = event_frame.build_event_frame(events)
        self._workers[0].send({**header, "kind": "route"}, columns)
        frame = self._workers[0].receive(raise_if_cancelled)
        raise_if_gave_up(frame)
        routes = frame.expected("routes").header["routes"]
        if len(routes) != events.num_rows:
            raise BrokenFrameError(f"{len(routes)} routes where {events.num_rows} are due")
        return [list(keys) for keys in routes]

    @property
    def share_count(self) -> int:
        """Into how many shares the events are to be told apart."""
        return 1 if self._is_routed else len(self._workers)

    def send_batch(
        self, events: pa.Table, first_change: int, only_keys: Collection[str] | None = None
    ) -> list[pa.Table]:
        """Give the next batch to the workers; each one's share of it, as `receive` wants it.

        `first_change` is the number of the next change, which the first batch tells, and with it
        the keys that `only` may change. Events have a column `share` where they are to be told apart.
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
        """What they did with a batch; None where one of them has ended before it.

        Raises `WorkerDiedError`, `NotPlainError` and `WorkersFullError`.
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
        """What a worker did with its next share; None where it has ended."""
        worker = self._workers[worker_index]
        if worker_index in self._round_trips_json:
            return None
        asked = 0
        while (frame := worker.receive(raise_if_cancelled)).kind == "ask":
            asked += 1
            header, parts = answer_asked(frame, recall, asked)
            self._resumed_change = max([self._resumed_change, *header["changes"].values()])
            worker.send_answer(header, parts)
        raise_if_gave_up(frame, len(self._workers))
        if frame.expected("folded", "done").kind == "done":
            self._round_trips_json[worker_index] = frame.header.get("plain")
            self.probe_results += frame.header.get("probed", [])
            return None
        return frame

    def finish(self) -> None:
        """Tell them that nothing more comes."""
        for worker in self._workers:
            worker.finish()

    def drop_queued(self) -> None:
        """Take back the batches that none of them has begun to read.

        One may be ahead of the others; what it did there is of no use without theirs.
        """
        for worker in self._workers:
            worker.drop_queued()

    def wait_until_done(
        self, recall: RecallDocuments, raise_if_cancelled: Callable[[], None] = lambda: None
    ) -> bool | None:
        """Whether all states that they hold are plain, once everything else is heard."""
        for worker_index in range(len(self._workers)):
            while self._receive_share(worker_index, recall, raise_if_cancelled) is not None:
                pass
        plain = list(self._round_trips_json.values())
        return False if False in plain else None if None in plain else True
