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

from replay.projection import reference as references
from replay.projection.reference import Reference
from replay.worker_host import event_frame
from replay.worker_host.batch_result import Together, Told, check_numbers, told
from replay.worker_host.gateway_bridge import Calling
from replay.worker_host.sandbox import Room
from replay.worker_host.worker_frames import BrokenFrameError, Frame, answer_asked
from replay.worker_host.worker_process import Worker, most_memory, unloadable
from storage.errors import ProjectionError

Answer = Callable[[Frame], tuple[dict[str, Any], tuple[Any, ...]]]
"""What gives a worker the documents that it asks for."""


_STARTS = 10
"""How often workers are started whose code is saved while they import it."""


class NotPlainError(Exception):
    """A worker met a state that JSON can't bring back."""


class FullError(Exception):
    """A worker has no room for more documents."""

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self.memory = memory
        """Bytes that all workers take for those that they hold."""


def refuse(frame: Frame, workers: int = 1) -> None:
    """Raise what a worker gives up with; the others are thought to be as full as it is."""
    if frame.kind == "not plain":
        raise NotPlainError
    if frame.kind == "full":
        raise FullError(workers * frame.header["memory"])


class Crew:
    """Running workers. Use as a context manager: leaving it kills them."""

    def __init__(
        self,
        reference: Reference,
        count: int,
        calling: Calling | None = None,
        *,
        memory: int | None = None,
        room: int = 0,
        **wishes: Any,
    ) -> None:
        """Start `count` workers, for all of which `memory` and `room` are; see `Worker`.

        What they call of the outside goes through `calling`.
        """
        wishes |= {"memory": (memory or most_memory()) // count, "room": room // count}
        self._reference = reference
        self._calling = calling
        self._wishes = wishes
        self._start(count)
        self._routed = self._renews = False
        self._together: Together | None = None
        self._plain: dict[int, bool | None] = {}
        """What those that have ended said of their states; see `Folded.plain`."""
        self._fed = False
        self._next_change = 0
        self.probed: list[dict[str, Any]] = []
        """What their probes have found, once they have ended."""

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, count: int) -> None:
        self._workers: list[Worker] = []
        with ExitStack() as started:
            for part in range(count):
                worker = Worker(
                    self._reference, self._calling, part=part, parts=count, **self._wishes
                )
                self._workers.append(started.enter_context(worker))
            self._stack = started.pop_all()

    def ready(self) -> Mapping[str, Any]:
        """What the projection says of itself; raises `ProjectionError` where it can't be loaded.

        Workers that imported code which was saved meanwhile are started again.
        """
        for _ in range(_STARTS):
            said = [worker.receive() for worker in self._workers]
            for frame in said:
                if frame.kind == "unusable":
                    raise unloadable(self._reference, frame.header)
                frame.ready_for("fold")
            files = said[0].header["files"]
            same = all(frame.header["files"] == files for frame in said)
            if same and references.unchanged(files):
                break
            self._stack.close()
            self._start(len(said))
        else:
            raise ProjectionError(
                f"The code of {self._reference.name} is saved again and again while it is imported; save"
                " it once and run this again."
            )
        header = {**said[0].header, "careful": any(f.header["careful"] for f in said)}
        self._routed = bool(header["routed"])
        self._renews = bool(header["renews"])
        if len(self._workers) > 1 and self._routed and not header["shared"]:
            raise ProjectionError(
                f"{self._reference.name} is a program that routes by itself, so only one worker can fold it;"
                " leave --workers out."
            )
        return header

    @property
    def routed(self) -> bool:
        """Whether an event's stream needn't be its document."""
        return self._routed

    @property
    def room(self) -> Room:
        """How far they are shut in."""
        return self._workers[0].room

    @property
    def renews(self) -> bool:
        """Whether they can forget their documents and begin anew."""
        return self._renews

    def anew(self, calling: Calling | None) -> None:
        """Let them forget all documents, before anything else is sent; what they call goes through
        `calling` then."""
        self._calling = calling
        for worker in self._workers:
            worker.anew(calling)
        self._fed = False

    def merged(self, versions: list[list[Any]]) -> list[dict[str, Any]]:
        """What the projection's `merge` makes of base, left and right, values as JSON has them:
        for each a `state` as JSON text, or an `error`."""
        self._workers[0].send({"kind": "merge", "versions": versions}, ())
        frame = self._workers[0].receive()
        refuse(frame)
        merged = frame.expected("merged").header["merged"]
        if len(merged) != len(versions) or not all({"state", "error"} & set(m) for m in merged):
            raise BrokenFrameError(f"{len(merged)} merged documents where {len(versions)} are due")
        return [dict(one) for one in merged]

    def routes(self, events: pa.Table, check: Callable[[], None] = lambda: None) -> list[list[str]]:
        """The keys that each event reaches; none where asking for them raises."""
        header, columns = event_frame.frame(events)
        self._workers[0].send({**header, "kind": "route"}, columns)
        frame = self._workers[0].receive(check)
        refuse(frame)
        routes = frame.expected("routes").header["routes"]
        if len(routes) != events.num_rows:
            raise BrokenFrameError(f"{len(routes)} routes where {events.num_rows} are due")
        return [list(keys) for keys in routes]

    @property
    def splits(self) -> int:
        """Into how many shares the events are to be told apart."""
        return 1 if self._routed else len(self._workers)

    def send(
        self, events: pa.Table, first_change: int, only: Collection[str] | None = None
    ) -> list[pa.Table]:
        """Give the next batch to the workers; each one's share of it, as `receive` wants it.

        `first_change` is the number of the next change, which the first batch tells, and with it
        the keys that `only` may change. Events have a column `share` where they are to be told apart.
        """
        shares = [events] * len(self._workers)
        if self.splits > 1:
            parts = range(len(self._workers))
            shares = [events.filter(pc.equal(events["share"], part)) for part in parts]
        for worker, share in zip(self._workers, shares, strict=True):
            answers = None if self._calling is None else self._calling.answers(share)
            header, columns = event_frame.frame(share, answers)
            if not self._fed:
                header["first_change"] = first_change
                if only is not None:
                    header["only"] = list(only)
            worker.send(header, columns)
        if not self._fed:
            self._next_change = first_change
        if not self._fed and len(self._workers) > 1:
            self._together = Together(len(self._workers), first_change)
        self._fed = True
        return [share.select(["offset", "stream"]).combine_chunks() for share in shares]

    def receive(
        self, shares: list[pa.Table], answer: Answer, check: Callable[[], None] = lambda: None
    ) -> Told | None:
        """What they did with a batch; None where one of them has ended before it.

        Raises `WorkerDiedError`, `NotPlainError` and `FullError`.
        """
        parts = []
        for place, share in enumerate(shares):
            frame = self._heard(place, answer, check)
            if frame is None:
                return None
            parts.append(told(frame, share, routed=self._routed))
        if self._together is not None:
            return self._together.put(parts)
        self._next_change = check_numbers(parts[0], self._next_change)
        return parts[0]

    def _heard(self, place: int, answer: Answer, check: Callable[[], None]) -> Frame | None:
        """What a worker did with its next share; None where it has ended."""
        worker = self._workers[place]
        if place in self._plain:
            return None
        asked = 0
        while (frame := worker.receive(check)).kind == "ask":
            asked += 1
            worker.answer(*answer_asked(frame, answer, asked))
        refuse(frame, len(self._workers))
        if frame.expected("folded", "done").kind == "done":
            self._plain[place] = frame.header.get("plain")
            self.probed += frame.header.get("probed", [])
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

    def last_word(self, answer: Answer, check: Callable[[], None] = lambda: None) -> bool | None:
        """Whether all states that they hold are plain, once everything else is heard."""
        for place in range(len(self._workers)):
            while self._heard(place, answer, check) is not None:
                pass
        plain = list(self._plain.values())
        return False if False in plain else None if None in plain else True
