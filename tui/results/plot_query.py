"""The values of a plot: numbers of a history over the whole log, also of a fork's parent.

Imported with the first plot, because it imports numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from replay.query.series import Series, compute_series
from replay.query.unknown_paths import describe_unknown_paths
from storage.errors import QueryError
from storage.log.event_log import EventDensity, LogExtent
from tui.state.parent_comparison import ParentComparison, compare_with_parent
from tui.state.shown_data import ShownData

_STRETCHES = 400
"""Points of a plot, more than a wide terminal has columns; each keeps its lowest and highest value."""


@dataclass(frozen=True)
class Plot:
    """Values over the stretches of a log."""

    series: Sequence[Series]
    density: EventDensity
    extent: LogExtent


def query_plot(data: ShownData, names: Sequence[str], key: str | None) -> Plot:
    """Return the values of expressions, for a document or all. Call it in a thread: it scans the history.

    Raises `QueryError` if an expression is never a number.
    """
    history = data.history
    if history is None:
        raise QueryError("No values without a projection. Start refold with one: -p FILE.")
    density = data.log.read_density(_STRETCHES)
    found = [compute_series(history, name, density.last_offsets, key) for name in names]
    for one in found:
        missing = describe_unknown_paths(history, one.name)
        if one.is_empty or missing:
            raise QueryError(missing or f"{one.name} is never a number. Plot a numeric value.")
    sides = compare_with_parent(history)
    if sides is not None:
        found += _compute_parent_series(sides, names, density.last_offsets, key)
    return Plot(found, density, data.extent)


def _compute_parent_series(
    sides: ParentComparison, names: Sequence[str], ends: Sequence[int], key: str | None
) -> list[Series]:
    """Return the same values on the parent timeline, over the same stretches."""
    theirs = [sides.fork.position_map.parent_position_before(end) for end in ends]
    return [
        replace(compute_series(sides.parent, name, theirs, key), name=f"{name} on {sides.names[0]}")
        for name in names
    ]
