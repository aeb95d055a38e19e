"""Checks of a projection's properties: whether folding it in another way gives the same states.

For determinism and isolation, two worker groups fold the same log side by side, and their results are
compared batch by batch. For a probe, one worker group also tries each event twice or in another order.
Nothing is written to the workspace.
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
"""Workers that share the keys. Data that one key leaves for another is lost three times out of four."""

OnCheckProgress = Callable[[int, int], None]
"""Takes the number of events that were checked, and the number of all events."""


@dataclass(frozen=True)
class Disagreement:
    """The first event after which two folds of the same code differ."""

    offset: int
    key: str | None
    first_state: str | None
    """The state as JSON, or the error that was raised; None if there was neither."""
    second_state: str | None
    """The same in the second fold."""
    reads: Sequence[str]
    """The clocks and random numbers that the handler read, such as `datetime.now`."""

    @property
    def differences(self) -> list[Difference]:
        """The differences between the two states."""
        return find_differences(decode_or_text(self.first_state), decode_or_text(self.second_state))


@dataclass(frozen=True)
class ProbeFinding:
    """Events of a type, or adjacent events of two types, for which the probe gives another state."""

    types: Sequence[str | None]
    count: int
    """The number of such events."""
    offset: int
    """The first of them."""
    key: str


def check_determinism(
    workspace: Workspace, reference: Reference, *, on_progress: OnCheckProgress | None = None
) -> Disagreement | None:
    """Return the first difference between folds in two fresh processes; None if there is none.

    The processes differ in hash seed, clock, time zone and random seed. Raises `ProjectionError` if the
    projection can't be run.
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
    """Return the first difference between folding all keys in one process and in several.

    None if there is none. Raises `ProjectionError` if the projection can't be run.
    """
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
    """Return what the probe `idempotence` or `reorder` changes, by event type, in the order of the log.

    Raises `ProjectionError` if the projection can't be run, or if it is a program, because a program
    keeps its documents itself.
    """
    if reference.command:
        raise ProjectionError(
            f"{reference.name} is a program that keeps its documents itself, so refold can't try"
            " events on them twice or in another order."
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
            f"{reference.name} is a query over all events and has no handlers to check."
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
    """Folds the log in several worker groups, batch by batch in step."""

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
        shares = max(worker_group.share_count for worker_group in worker_groups)
        self._events = EventReader.for_whole_log(workspace, shares)
        self._flow_control = FlowControl()

    def iterate_results(self) -> Iterator[list[BatchResult]]:
        """Yield the batch results of all worker groups for each batch."""
        in_flight: deque[tuple[list[list[pa.Table]], int]] = deque()
        done = 0
        while True:
            while self._flow_control.can_send(len(in_flight), sum(count for _, count in in_flight)):
                table = self._events.read_batch(self._flow_control.next_batch_size())
                if table is None:
                    break
                shares = [worker_group.send_batch(table, 0) for worker_group in self._worker_groups]
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
                f"The worker {error.reason} at offset {error.offset:,}, so the check ended there."
            ) from error
        if batch_result is None:
            raise ProjectionError("The worker ended before the end of the log.")
        return batch_result


def _refuse_recall(_: Frame) -> Any:
    raise ProjectionError("The worker asked for documents although it got the whole log.")


def _find_disagreement(one: BatchResult, other: BatchResult) -> Disagreement | None:
    """Return the first event of a batch after which two folds differ; None if they agree."""
    same = one.changes.select(_COMPARED_COLUMNS).equals(other.changes.select(_COMPARED_COLUMNS))
    if (
        same
        and _are_parts_equal(one.parts, other.parts)
        and _list_failures(one) == _list_failures(other)
    ):
        return None
    found = [_outcomes_by_event(one), _outcomes_by_event(other)]
    differing = [
        event_key
        for event_key in {**found[0], **found[1]}
        if found[0].get(event_key) != found[1].get(event_key)
    ]
    offset, key = min(differing, key=lambda event_key: (event_key[0], event_key[1] or ""))
    reads = dict.fromkeys([*one.reads_at(offset), *other.reads_at(offset)])
    first, second = (outcomes.get((offset, key)) for outcomes in found)
    return Disagreement(offset, key, first, second, tuple(reads))


def _are_parts_equal(one: pa.Table | None, other: pa.Table | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.equals(other))


def _list_failures(batch_result: BatchResult) -> list[Any]:
    return [(f["offset"], f["key"], f["error"]) for f in batch_result.failures]


def _outcomes_by_event(batch_result: BatchResult) -> dict[tuple[int, str | None], str | None]:
    """Return the state or error after each event, by (offset, key).

    The state of a large document contains only the parts that changed.
    """
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
