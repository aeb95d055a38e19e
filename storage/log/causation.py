"""Trees of cause and effect, built from causation and correlation ids.

The cause of an event is the event whose id is its causation id; if the log repeats that id, the first
event with it counts. Events that only share a correlation id are siblings, in the order of the log.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.log.event_log import EventLog, EventSummary
from storage.workspace.workspace import Workspace

MAX_EVENTS = 2_000
"""Most events of a tree, because a correlation id that every event has would select the whole log."""
_MAX_DEPTH = 64
"""Most steps from an effect to its cause, because ids may form a circle."""


@dataclass(frozen=True)
class CausalEvent:
    """An event and its depth in the tree."""

    event: EventSummary
    depth: int
    """The number of causes above the event in the tree; 0 for a root."""


@dataclass(frozen=True)
class CausalTree:
    """The causes and effects of one event, and the events that share its correlation id.

    Each effect comes after its cause.
    """

    events: Sequence[CausalEvent]
    is_truncated: bool
    """Whether events were left out because there are more than `MAX_EVENTS`."""


@dataclass(frozen=True)
class _Link:
    offset: int
    id: str | None
    causation_id: str | None


def build_causal_tree(workspace: Workspace, offset: int) -> CausalTree:
    """Return the tree around the event at an offset, empty if there is no such event.

    Scans the id columns a few times. Of too many events it keeps those nearest to the offset.
    """
    links_by_offset: dict[int, _Link] = {}
    first = _read_links(workspace, '"offset" = ?', [offset])
    if not first:
        return CausalTree((), is_truncated=False)
    _add_links(links_by_offset, first)
    _add_links(
        links_by_offset,
        _read_links(
            workspace, f"correlation_id = {_CORRELATION_OF_EVENT}", [offset], near_offset=offset
        ),
    )
    _add_links(links_by_offset, _find_causes(workspace, first[0]))
    _add_links(links_by_offset, _find_effects(workspace, list(links_by_offset.values())))
    shown_offsets = sorted(links_by_offset, key=lambda at: (abs(at - offset), at))[:MAX_EVENTS]
    rows = {row.offset: row for row in EventLog(workspace).read_events_at(sorted(shown_offsets))}
    return CausalTree(
        [
            CausalEvent(rows[at], depth)
            for at, depth in _order_tree([links_by_offset[at] for at in sorted(shown_offsets)])
        ],
        is_truncated=len(links_by_offset) > len(shown_offsets),
    )


_CORRELATION_OF_EVENT = '(SELECT correlation_id FROM events WHERE "offset" = ?)'


def _add_links(links_by_offset: dict[int, _Link], links: Iterable[_Link]) -> None:
    for link in links:
        links_by_offset.setdefault(link.offset, link)


def _find_causes(workspace: Workspace, link: _Link) -> list[_Link]:
    """Return the event, its cause, the cause of that, and so on."""
    found: dict[int, _Link] = {}
    while link.causation_id is not None and link.offset not in found and len(found) < _MAX_DEPTH:
        found[link.offset] = link
        earlier = _read_links(
            workspace, 'id = ? AND "offset" <> ?', [link.causation_id, link.offset]
        )
        if not earlier:
            break
        link = earlier[0]
    found[link.offset] = link
    return list(found.values())


def _find_effects(workspace: Workspace, links: list[_Link]) -> list[_Link]:
    """Return the effects of these events, the effects of those, and so on."""
    found: list[_Link] = []
    seen: set[str] = set()
    ids = {link.id for link in links if link.id is not None}
    while (ids := ids - seen) and len(found) <= MAX_EVENTS:
        seen |= ids
        marks = ", ".join("?" * len(ids))
        later = _read_links(workspace, f"causation_id IN ({marks})", sorted(ids))
        found += later
        ids = {link.id for link in later if link.id is not None}
    return found


def _read_links(
    workspace: Workspace, condition: str, parameters: Sequence[object], *, near_offset: int = 0
) -> list[_Link]:
    """Return events that match a condition, in the order of the log; if too many, those near an offset."""
    with workspace.reading() as connection:
        rows = connection.execute(
            f'SELECT "offset", id, causation_id FROM events WHERE {condition}'
            f' ORDER BY abs("offset" - {int(near_offset)}), "offset" LIMIT {MAX_EVENTS + 1}',
            list(parameters),
        ).fetchall()
    return sorted((_Link(*row) for row in rows), key=lambda link: link.offset)


def _order_tree(links: Sequence[_Link]) -> list[tuple[int, int]]:
    """Return (offset, depth) of all events, each after its cause."""
    by_id: dict[str, int] = {}
    for link in links:
        if link.id is not None:
            by_id.setdefault(link.id, link.offset)
    children: dict[int | None, list[int]] = {}
    for link in links:
        cause = by_id.get(link.causation_id) if link.causation_id is not None else None
        # Only an earlier event can be a cause; this also rules out circles.
        parent = cause if cause is not None and cause < link.offset else None
        children.setdefault(parent, []).append(link.offset)
    arranged: list[tuple[int, int]] = []
    waiting = [(offset, 0) for offset in reversed(children.get(None, []))]
    while waiting:
        offset, depth = waiting.pop()
        arranged.append((offset, depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(offset, []))]
    return arranged
