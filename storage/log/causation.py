"""Causes: which event led to which, by correlation and causation ids, as a tree.

An event's cause is the event whose id it names; a log may repeat an id, and then the first counts.
Events that only share a correlation id stand beside each other, in the order of the log.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.log.event_log import EventLog, EventRow
from storage.workspace.workspace import Workspace

MOST = 2_000
"""Events of a tree; a correlation id that is everywhere would make a tree of the whole log."""
_DEEPEST = 64
"""Steps from a cause to its own cause, as ids may go around in a circle."""


@dataclass(frozen=True)
class Cause:
    """An event in the tree."""

    event: EventRow
    depth: int
    """0 for what nothing in the tree led to."""


@dataclass(frozen=True)
class Causes:
    """Everything that belongs together with one event, causes before what they led to."""

    tree: Sequence[Cause]
    more: bool
    """There are more than are shown."""


@dataclass(frozen=True)
class _Link:
    offset: int
    id: str | None
    cause: str | None


def around(workspace: Workspace, offset: int) -> Causes:
    """The tree around an event; scans the ids a few times."""
    found: dict[int, _Link] = {}
    first = _links(workspace, '"offset" = ?', [offset])
    if not first:
        return Causes((), more=False)
    _add(found, first)
    _add(found, _links(workspace, f"correlation_id = {_OF_EVENT}", [offset], near=offset))
    _add(found, _causes_of(workspace, first[0]))
    _add(found, _led_to(workspace, list(found.values())))
    kept = sorted(found, key=lambda at: (abs(at - offset), at))[:MOST]
    rows = {row.offset: row for row in EventLog(workspace).rows_at(sorted(kept))}
    return Causes(
        [Cause(rows[at], depth) for at, depth in _arranged([found[at] for at in sorted(kept)])],
        more=len(found) > len(kept),
    )


_OF_EVENT = '(SELECT correlation_id FROM events WHERE "offset" = ?)'


def _add(found: dict[int, _Link], links: Iterable[_Link]) -> None:
    for link in links:
        found.setdefault(link.offset, link)


def _causes_of(workspace: Workspace, link: _Link) -> list[_Link]:
    """The event's cause, and the cause of that, up to the first."""
    found: dict[int, _Link] = {}
    while link.cause is not None and link.offset not in found and len(found) < _DEEPEST:
        found[link.offset] = link
        earlier = _links(workspace, 'id = ? AND "offset" <> ?', [link.cause, link.offset])
        if not earlier:
            break
        link = earlier[0]
    found[link.offset] = link
    return list(found.values())


def _led_to(workspace: Workspace, causes: list[_Link]) -> list[_Link]:
    """What these led to, and what that led to."""
    found: list[_Link] = []
    seen: set[str] = set()
    ids = {link.id for link in causes if link.id is not None}
    while (ids := ids - seen) and len(found) <= MOST:
        seen |= ids
        marks = ", ".join("?" * len(ids))
        later = _links(workspace, f"causation_id IN ({marks})", sorted(ids))
        found += later
        ids = {link.id for link in later if link.id is not None}
    return found


def _links(
    workspace: Workspace, condition: str, parameters: Sequence[object], *, near: int = 0
) -> list[_Link]:
    """Events that a condition keeps, in the order of the log; of too many those near an offset."""
    with workspace.reading() as connection:
        rows = connection.execute(
            f'SELECT "offset", id, causation_id FROM events WHERE {condition}'
            f' ORDER BY abs("offset" - {int(near)}), "offset" LIMIT {MOST + 1}',
            list(parameters),
        ).fetchall()
    return sorted((_Link(*row) for row in rows), key=lambda link: link.offset)


def _arranged(links: Sequence[_Link]) -> list[tuple[int, int]]:
    """(offset, depth), each behind what led to it."""
    by_id: dict[str, int] = {}
    for link in links:
        if link.id is not None:
            by_id.setdefault(link.id, link.offset)
    children: dict[int | None, list[int]] = {}
    for link in links:
        cause = by_id.get(link.cause) if link.cause is not None else None
        # Only an earlier event can be a cause, which also keeps circles out.
        parent = cause if cause is not None and cause < link.offset else None
        children.setdefault(parent, []).append(link.offset)
    arranged: list[tuple[int, int]] = []
    waiting = [(offset, 0) for offset in reversed(children.get(None, []))]
    while waiting:
        offset, depth = waiting.pop()
        arranged.append((offset, depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(offset, []))]
    return arranged
