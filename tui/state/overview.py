"""The whole log as the strip draws it: how dense it is, its failures, its lanes."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.log.event_log import EventDensity, LogExtent
from tui.state.lanes import Lane, strip_columns
from tui.state.shown_data import ShownData

MAX_LANES = 4
"""Lanes that the strip shows."""


@dataclass(frozen=True)
class Overview:
    """The log as the strip draws it."""

    extent: LogExtent
    density: EventDensity
    failures: Sequence[int]
    """Indexes of stretches in which a handler raised."""
    lanes: Sequence[tuple[Lane, Sequence[int]]]
    """The other lanes, each with the indexes of stretches in which it has a mark."""


def query_overview(data: ShownData, lanes: Sequence[Lane], stretches: int) -> Overview:
    """Return the log divided into stretches. Call it in a thread."""
    density = data.log.read_density(stretches)
    ends = density.last_offsets
    failed = frozenset() if data.history_view is None else data.history_view.failed_offsets
    marks = [(lane, strip_columns(lane.offsets, ends)) for lane in lanes]
    return Overview(data.extent, density, strip_columns(failed, ends), marks)
