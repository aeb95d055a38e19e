"""What a projection should be beyond its invariants: whether folding it another way gives the same.

Nothing is written: two crews fold the same log side by side and what they tell is compared batch by
batch, or one crew tries each event otherwise beside its fold.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from replay.document.diff import Difference, differences, encode, readable
from replay.event_fold.event_reader import EventReader
from replay.history.large_document import sparse
from replay.projection.declaration import over_all_events
from replay.projection.reference import Reference
from replay.worker_host.batch_result import Told
from replay.worker_host.flow_control import Pace
from replay.worker_host.gateway_bridge import Calling
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import Crew
from replay.worker_host.worker_process import WorkerDiedError, World
from storage.errors import ProjectionError
from storage.workspace.workspace import Workspace

_DAYS = 86_400
_WORLDS = (
    World(0, 1, {"PYTHONHASHSEED": "0", "TZ": "UTC"}),
    World(400 * _DAYS + 5_025, 2, {"PYTHONHASHSEED": "4321", "TZ": "Asia/Kathmandu"}),
)
_COMPARED = ["offset", "key", "state"]
_APART = 4
"""Workers among which keys are told apart: what one hands another gets lost three times in four."""

OnProgress = Callable[[int, int], None]
"""Takes the events looked at, and how many there are."""


@dataclass(frozen=True)
class Disagreement:
    """The first event after which two folds of the same code differ."""

    offset: int
    key: str | None
    one: str | None
    """The state as JSON, or the error that was raised; None where there was nothing."""
    other: str | None
    read: Sequence[str]
    """What its handler read of clocks and random numbers, such as `datetime.now`."""

    @property
    def differences(self) -> list[Difference]:
        """Where the states differ."""
        return differences(readable(self.one), readable(self.other))


@dataclass(frozen=True)
class Probed:
    """Events of a type, or neighbours of two types, that would have given another state."""

    types: Sequence[str | None]
    count: int
    offset: int
    """The first of them."""
    key: str


def determinism(
    workspace: Workspace, wanted: Reference, *, on_progress: OnProgress | None = None
) -> Disagreement | None:
    """The first difference between two fresh processes in different worlds; None where there is none.

    They have another hash seed, clock, time zone and seed of random numbers. Raises
    `ProjectionError` where it can't be run.
    """
    _refuse_query(wanted)
    with (
        Calling(workspace, wanted) as calling,
        Crew(wanted, 1, calling, careful=True, world=_WORLDS[0]) as one,
        Crew(wanted, 1, calling, careful=True, world=_WORLDS[1]) as other,
    ):
        return _side_by_side(workspace, one, other, on_progress)


def isolation(
    workspace: Workspace, wanted: Reference, *, on_progress: OnProgress | None = None
) -> Disagreement | None:
    """The first difference between all keys in one process, and keys apart in several."""
    _refuse_query(wanted)
    with (
        Calling(workspace, wanted) as calling,
        Crew(wanted, 1, calling, careful=True) as one,
        Crew(wanted, _APART, calling, careful=True) as other,
    ):
        return _side_by_side(workspace, one, other, on_progress)


def probed(
    workspace: Workspace, wanted: Reference, what: str, *, on_progress: OnProgress | None = None
) -> list[Probed]:
    """What `idempotence` or `reorder` would change, by type, the first first.

    Raises `ProjectionError` where the projection can't be run, or is a program, whose documents
    nobody else can try events on.
    """
    if wanted.command:
        raise ProjectionError(
            f"{wanted.name} is a program and holds its documents itself, so events can't be tried"
            " on them twice or in another order."
        )
    _refuse_query(wanted)
    with (
        Calling(workspace, wanted) as calling,
        Crew(wanted, 1, calling, careful=True, probe=what) as crew,
    ):
        for _ in _Through(workspace, [crew], on_progress).batches():
            pass
        found = [Probed(**one) for one in crew.probed]
    return sorted(found, key=lambda one: one.offset)


def _refuse_query(wanted: Reference) -> None:
    if over_all_events(wanted.text):
        raise ProjectionError(
            f"{wanted.name} is a query over all events: it has no handlers of which this could be"
            " asked."
        )


def _side_by_side(
    workspace: Workspace, one: Crew, other: Crew, on_progress: OnProgress | None
) -> Disagreement | None:
    for told in _Through(workspace, [one, other], on_progress).batches():
        found = _disagreement(*told)
        if found is not None:
            return found
    return None


class _Through:
    """The log through several crews in step."""

    def __init__(
        self, workspace: Workspace, crews: Sequence[Crew], on_progress: OnProgress | None
    ) -> None:
        self._crews = crews
        self._on_progress = on_progress or (lambda *_: None)
        for crew in crews:
            crew.ready()
        shares = max(crew.splits for crew in crews)
        self._events = EventReader.whole(workspace, shares)
        self._pace = Pace()

    def batches(self) -> Iterator[list[Told]]:
        """What each crew told of each batch."""
        on_the_way: deque[tuple[list[list[pa.Table]], int]] = deque()
        done = 0
        while True:
            while self._pace.room(len(on_the_way), sum(count for _, count in on_the_way)):
                table = self._events.next(self._pace.batch())
                if table is None:
                    break
                shares = [crew.send(table, 0) for crew in self._crews]
                on_the_way.append((shares, table.num_rows))
            if not on_the_way:
                break
            shares, count = on_the_way.popleft()
            told = [self._told(*pair) for pair in zip(self._crews, shares, strict=True)]
            yield told
            self._pace.came_back(count, sum(one.size for one in told))
            done += count
            self._on_progress(done, self._events.until)
        for crew in self._crews:
            crew.finish()
            crew.last_word(_nothing_kept)

    def _told(self, crew: Crew, shares: list[pa.Table]) -> Told:
        try:
            told = crew.receive(shares, _nothing_kept)
        except WorkerDiedError as error:
            raise ProjectionError(
                f"The worker {error.what} at offset {error.offset:,}, so nothing can be compared"
                " from there on."
            ) from error
        if told is None:
            raise ProjectionError("The worker ended before the log did.")
        return told


def _nothing_kept(_: Frame) -> Any:
    raise ProjectionError("The worker asked for documents, though it was given the whole log.")


def _disagreement(one: Told, other: Told) -> Disagreement | None:
    """The first event of a batch after which two folds differ."""
    same = one.changes.select(_COMPARED).equals(other.changes.select(_COMPARED))
    if same and _same_parts(one.parts, other.parts) and _failed(one) == _failed(other):
        return None
    found = [_changes(one), _changes(other)]
    places = [
        place for place in {**found[0], **found[1]} if found[0].get(place) != found[1].get(place)
    ]
    offset, key = min(places, key=lambda place: (place[0], place[1] or ""))
    read = dict.fromkeys([*one.read_at(offset), *other.read_at(offset)])
    first, second = (which.get((offset, key)) for which in found)
    return Disagreement(offset, key, first, second, tuple(read))


def _same_parts(one: pa.Table | None, other: pa.Table | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.equals(other))


def _failed(told: Told) -> list[Any]:
    return [(f["offset"], f["key"], f["error"]) for f in told.failures]


def _changes(told: Told) -> dict[tuple[int, str | None], str | None]:
    """What became of a document at an event; of a large one the parts that were changed."""
    rows = told.changes
    places = list(zip(rows["offset"].to_pylist(), rows["key"].to_pylist(), strict=True))
    found: dict[tuple[int, str | None], str | None] = dict(
        zip(places, rows["state"].to_pylist(), strict=True)
    )
    parts: dict[int, dict[str, str | None]] = {}
    for part in [] if told.parts is None else told.parts.to_pylist():
        parts.setdefault(part["row"], {})[part["part"]] = part["state"]
    for row, states in parts.items():
        if found[places[row]] == "":
            found[places[row]] = encode(sparse(dict(sorted(states.items()))))
    for failure in told.failures:
        found[failure["offset"], failure["key"]] = failure["error"]
    return found
