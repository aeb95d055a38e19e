"""What a projection should be beyond its invariants: whether folding it another way gives the same.

Nothing is written: two crews fold the same log side by side and what they tell is compared batch by
batch, or one crew tries each event otherwise beside its fold.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from replay.document.diff import Difference, decode_or_text, encode_value, find_differences
from replay.event_fold.event_reader import EventReader
from replay.history.large_document import build_sparse_value
from replay.projection.declaration import is_over_all_events
from replay.projection.projection_reference import Reference
from replay.worker_host.batch_result import BatchResult
from replay.worker_host.flow_control import FlowControl
from replay.worker_host.gateway_bridge import GatewayBridge
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import WorkerGroup
from replay.worker_host.worker_process import ShiftedWorldSettings, WorkerDiedError
from storage.errors import ProjectionError
from storage.workspace.workspace import Workspace

_DAY_SECONDS = 86_400
_WORLD_SETTINGS = (
    ShiftedWorldSettings(0, 1, {"PYTHONHASHSEED": "0", "TZ": "UTC"}),
    ShiftedWorldSettings(
        400 * _DAY_SECONDS + 5_025, 2, {"PYTHONHASHSEED": "4321", "TZ": "Asia/Kathmandu"}
    ),
)
_COMPARED_COLUMNS = ["offset", "key", "state"]
_ISOLATION_WORKERS = 4
"""Workers among which keys are told apart: what one hands another gets lost three times in four."""

OnCheckProgress = Callable[[int, int], None]
"""Takes the events looked at, and how many there are."""


@dataclass(frozen=True)
class Disagreement:
    """The first event after which two folds of the same code differ."""

    offset: int
    key: str | None
    first_state: str | None
    """The state as JSON, or the error that was raised; None where there was nothing."""
    second_state: str | None
    reads: Sequence[str]
    """What its handler read of clocks and random numbers, such as `datetime.now`."""

    @property
    def differences(self) -> list[Difference]:
        """Where the states differ."""
        return find_differences(decode_or_text(self.first_state), decode_or_text(self.second_state))


@dataclass(frozen=True)
class ProbeFinding:
    """Events of a type, or neighbours of two types, that would have given another state."""

    types: Sequence[str | None]
    count: int
    offset: int
    """The first of them."""
    key: str


def check_determinism(
    workspace: Workspace, reference: Reference, *, on_progress: OnCheckProgress | None = None
) -> Disagreement | None:
    """The first difference between two fresh processes in different worlds; None where there is none.

    They have another hash seed, clock, time zone and seed of random numbers. Raises
    `ProjectionError` where it can't be run.
    """
    _raise_for_query(reference)
    with (
        GatewayBridge(workspace, reference) as gateway_bridge,
        WorkerGroup(reference, 1, gateway_bridge, careful=True, world=_WORLD_SETTINGS[0]) as one,
        WorkerGroup(reference, 1, gateway_bridge, careful=True, world=_WORLD_SETTINGS[1]) as other,
    ):
        return _compare_folds(workspace, one, other, on_progress)


def check_isolation(
    workspace: Workspace, reference: Reference, *, on_progress: OnCheckProgress | None = None
) -> Disagreement | None:
    """The first difference between all keys in one process, and keys apart in several."""
    _raise_for_query(reference)
    with (
        GatewayBridge(workspace, reference) as gateway_bridge,
        WorkerGroup(reference, 1, gateway_bridge, careful=True) as one,
        WorkerGroup(reference, _ISOLATION_WORKERS, gateway_bridge, careful=True) as other,
    ):
        return _compare_folds(workspace, one, other, on_progress)


def run_probe(
    workspace: Workspace,
    reference: Reference,
    probe: str,
    *,
    on_progress: OnCheckProgress | None = None,
) -> list[ProbeFinding]:
    """What `idempotence` or `reorder` would change, by type, the first first.

    Raises `ProjectionError` where the projection can't be run, or is a program, whose documents
    nobody else can try events on.
    """
    if reference.command:
        raise ProjectionError(
            f"{reference.name} is a program and holds its documents itself, so events can't be tried"
            " on them twice or in another order."
        )
    _raise_for_query(reference)
    with (
        GatewayBridge(workspace, reference) as gateway_bridge,
        WorkerGroup(reference, 1, gateway_bridge, careful=True, probe=probe) as worker_group,
    ):
        for _ in _ParallelFold(workspace, [worker_group], on_progress).iterate_results():
            pass
        found = [ProbeFinding(**one) for one in worker_group.probe_results]
    return sorted(found, key=lambda one: one.offset)


def _raise_for_query(reference: Reference) -> None:
    if is_over_all_events(reference.text):
        raise ProjectionError(
            f"{reference.name} is a query over all events: it has no handlers of which this could be"
            " asked."
        )


def _compare_folds(
    workspace: Workspace,
    first: WorkerGroup,
    second: WorkerGroup,
    on_progress: OnCheckProgress | None,
) -> Disagreement | None:
    for batch_results in _ParallelFold(workspace, [first, second], on_progress).iterate_results():
        found = _find_disagreement(*batch_results)
        if found is not None:
            return found
    return None


class _ParallelFold:
    """The log through several crews in step."""

    def __init__(
        self,
        workspace: Workspace,
        worker_groups: Sequence[WorkerGroup],
        on_progress: OnCheckProgress | None,
    ) -> None:
        self._worker_groups = worker_groups
        self._on_progress = on_progress or (lambda *_: None)
        for worker_group in worker_groups:
            worker_group.wait_until_ready()
        shares = max(crew.share_count for crew in worker_groups)
        self._events = EventReader.for_whole_log(workspace, shares)
        self._flow_control = FlowControl()

    def iterate_results(self) -> Iterator[list[BatchResult]]:
        """What each crew told of each batch."""
        in_flight: deque[tuple[list[list[pa.Table]], int]] = deque()
        done = 0
        while True:
            while self._flow_control.can_send(len(in_flight), sum(count for _, count in in_flight)):
                table = self._events.read_batch(self._flow_control.next_batch_size())
                if table is None:
                    break
                shares = [crew.send_batch(table, 0) for crew in self._worker_groups]
                in_flight.append((shares, table.num_rows))
            if not in_flight:
                break
            shares, count = in_flight.popleft()
            batch_results = [
                self._receive_batch(*pair) for pair in zip(self._worker_groups, shares, strict=True)
            ]
            yield batch_results
            self._flow_control.record_result(count, sum(one.state_bytes for one in batch_results))
            done += count
            self._on_progress(done, self._events.end_offset)
        for worker_group in self._worker_groups:
            worker_group.finish()
            worker_group.wait_until_done(_refuse_recall)

    def _receive_batch(self, worker_group: WorkerGroup, shares: list[pa.Table]) -> BatchResult:
        try:
            batch_result = worker_group.receive_batch(shares, _refuse_recall)
        except WorkerDiedError as error:
            raise ProjectionError(
                f"The worker {error.reason} at offset {error.offset:,}, so nothing can be compared"
                " from there on."
            ) from error
        if batch_result is None:
            raise ProjectionError("The worker ended before the log did.")
        return batch_result


def _refuse_recall(_: Frame) -> Any:
    raise ProjectionError("The worker asked for documents, though it was given the whole log.")


def _find_disagreement(one: BatchResult, other: BatchResult) -> Disagreement | None:
    """The first event of a batch after which two folds differ."""
    same = one.changes.select(_COMPARED_COLUMNS).equals(other.changes.select(_COMPARED_COLUMNS))
    if (
        same
        and _are_parts_equal(one.parts, other.parts)
        and _list_failures(one) == _list_failures(other)
    ):
        return None
    found = [_outcomes_by_event(one), _outcomes_by_event(other)]
    events_differing = [
        place for place in {**found[0], **found[1]} if found[0].get(place) != found[1].get(place)
    ]
    offset, key = min(events_differing, key=lambda event_key: (event_key[0], event_key[1] or ""))
    read = dict.fromkeys([*one.reads_at(offset), *other.reads_at(offset)])
    first, second = (which.get((offset, key)) for which in found)
    return Disagreement(offset, key, first, second, tuple(read))


def _are_parts_equal(one: pa.Table | None, other: pa.Table | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.equals(other))


def _list_failures(batch_result: BatchResult) -> list[Any]:
    return [(f["offset"], f["key"], f["error"]) for f in batch_result.failures]


def _outcomes_by_event(batch_result: BatchResult) -> dict[tuple[int, str | None], str | None]:
    """What became of a document at an event; of a large one the parts that were changed."""
    rows = batch_result.changes
    event_keys = list(zip(rows["offset"].to_pylist(), rows["key"].to_pylist(), strict=True))
    found: dict[tuple[int, str | None], str | None] = dict(
        zip(event_keys, rows["state"].to_pylist(), strict=True)
    )
    parts: dict[int, dict[str, str | None]] = {}
    for part in [] if batch_result.parts is None else batch_result.parts.to_pylist():
        parts.setdefault(part["row"], {})[part["part"]] = part["state"]
    for row, states in parts.items():
        if found[event_keys[row]] == "":
            found[event_keys[row]] = encode_value(build_sparse_value(dict(sorted(states.items()))))
    for failure in batch_result.failures:
        found[failure["offset"], failure["key"]] = failure["error"]
    return found
