"""The events that a fork's worker is given: those that reach what may differ, at their places."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.event_fold import state_recall
from replay.forks.affected_documents import AffectedDocuments
from replay.history.catalogue import Folded
from replay.worker_host import event_frame
from storage.db.query import arrow
from storage.log.tombstones import HANDLED
from storage.quoting import quoted
from storage.timelines.edits import EVENT_FIELDS
from storage.timelines.overlay import Forked
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

FEW = 2_000
"""Documents whose events are held in memory at once."""
_LITERALS = 100
"""Keys that are written into a query."""
_BATCH = 50_000

_SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("time", pa.timestamp("us", "UTC")),
        ("stream", pa.string()),
        ("revision", pa.int64()),
        *((name, pa.string()) for name in ("type", "version", "id", "correlation_id")),
        *((name, pa.string()) for name in ("causation_id", "data", "meta")),
    ]
)


def own_events(overlay: Forked) -> pa.Table:
    """A fork's own events, in order."""
    columns: dict[str, list[Any]] = {"offset": [one.place for one in overlay.own]}
    for name in EVENT_FIELDS:
        columns[name] = [getattr(one.event, name) for one in overlay.own]
    return pa.table({name: columns[name] for name in _SCHEMA.names}, schema=_SCHEMA)


def reaching(
    workspace: Workspace, base: Folded, keys: Collection[str], *, routed: bool
) -> pa.Table:
    """All events of a timeline that reached some documents, in order; of those that route, without
    what reached none."""
    if routed:
        places = {place for place, _ in routes_to(workspace, base, keys)}
        return at_places(workspace, sorted(places))
    with workspace.reading() as connection:
        listed = ", ".join(quoted(key) for key in sorted(keys)) or "NULL"
        if len(keys) > _LITERALS:
            state_recall.want(connection, sorted(keys))
            listed = "SELECT key FROM wanted"
        return _typed(
            arrow(
                connection,
                f'SELECT {event_frame.SELECT} FROM events WHERE stream IN ({listed}) ORDER BY "offset"',
            )
        )


def routes_to(
    workspace: Workspace, base: Folded, keys: Collection[str], *, since: int = 0
) -> list[tuple[int, str]]:
    """Which events reached some documents, from a place on: place and key, in order."""
    with workspace.reading() as connection:
        state_recall.want(connection, sorted(keys))
        return connection.execute(
            'SELECT "offset", key FROM routes SEMI JOIN wanted USING (key)'
            ' WHERE projection = ? AND timeline = ? AND "offset" >= ? ORDER BY "offset"',
            [base.number, base.timeline, since],
        ).fetchall()


def at_places(workspace: Workspace, places: Sequence[int]) -> pa.Table:
    """The events at these places, in order."""
    if not places:
        return _SCHEMA.empty_table()
    query = f"SELECT {event_frame.SELECT} FROM events WHERE {HANDLED} AND"
    with workspace.reading() as connection:
        if len(places) <= 1_000:
            listed = ", ".join(map(str, places))
            found = arrow(connection, f'{query} "offset" IN ({listed}) ORDER BY "offset"')
        else:
            connection.register("places", pa.table({"offset": pa.array(places, pa.int64())}))
            found = arrow(
                connection,
                f'FROM ({query} "offset" BETWEEN {places[0]} AND {places[-1]})'
                ' SEMI JOIN places USING ("offset") ORDER BY "offset"',
            )
    return _typed(found)


def laid_over(overlay: Forked, parents: pa.Table, difference: AffectedDocuments) -> pa.Table:
    """The parent's events (in order) as the fork has them, with its own, from where it differs."""
    there = parents.filter(pc.field("offset") >= difference.parents_since)
    offsets = there["offset"].to_numpy()
    kept = ~np.isin(offsets, overlay.hidden)
    there = there.filter(pa.array(kept))
    moved = offsets[kept] + np.searchsorted(overlay.anchors, offsets[kept])
    there = there.set_column(0, "offset", pa.array(moved, pa.int64()))
    if not overlay.own:
        return there
    return pa.concat_tables([there, own_events(overlay)]).sort_by("offset")


def many(
    seen: Seen, base: Folded, difference: AffectedDocuments, *, routed: bool
) -> Iterator[pa.Table]:
    """Batches of the fork's events that reach very many documents, or all."""
    if difference.everything:
        for first in range(difference.since, seen.overlay.events, _BATCH):
            yield _between(seen, first, first + _BATCH)
        return
    if routed:
        places = _reached(seen, base, difference)
    else:
        with seen.reading() as connection:
            state_recall.want(connection, sorted(difference.keys))
            table = arrow(
                connection,
                'SELECT "offset" FROM events WHERE stream IN (SELECT key FROM wanted)'
                f' AND "offset" >= {difference.since} ORDER BY "offset"',
            )
        places = table["offset"].to_pylist()
    for first in range(0, len(places), _BATCH):
        yield at_places(seen, places[first : first + _BATCH])


def _reached(seen: Seen, base: Folded, difference: AffectedDocuments) -> list[int]:
    overlay = seen.overlay
    rows = routes_to(seen.parent, base, difference.keys, since=difference.parents_since)
    hidden = set(overlay.hidden)
    places = {overlay.from_parent(place) for place, _ in rows if place not in hidden}
    return sorted(places | {one.place for one in overlay.own})


def _between(seen: Seen, first: int, end: int) -> pa.Table:
    with seen.reading() as connection:
        return _typed(
            arrow(
                connection,
                f'SELECT {event_frame.SELECT} FROM events WHERE "offset" >= {first}'
                f' AND "offset" < {end} AND {HANDLED} ORDER BY "offset"',
            )
        )


def _typed(table: pa.Table) -> pa.Table:
    return table.cast(_SCHEMA)
