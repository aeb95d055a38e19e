"""What may be otherwise on a fork: from which place on, and in which documents.

These are the documents that an edited event reached, or reaches now; those whose calls are answered
otherwise; and all, where the code is another.
"""

from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from replay.forks.affected_documents import AffectedDocuments
from replay.forks.fork_events import own_events
from replay.history.catalogue import Folded
from replay.worker_host.worker_group import Crew
from storage.coordinates.edit_kind import EditKind
from storage.db.query import rows as rows_of
from storage.errors import ProjectionError
from storage.timelines.workspace_view import Seen


def find(seen: Seen, base: Folded, crew: Crew, check: Callable[[], None]) -> AffectedDocuments:
    """What may differ from the parent's fold; the worker says which documents an event reaches.

    Raises `ProjectionError` where the parent's states are not known there.
    """
    with seen.parent.reading() as connection:
        hidden = events_at(connection, seen.overlay.hidden)
        found = begun(seen, base, hidden)
        if not found.everything:
            found.keys |= _keys_of_hidden(connection, seen, base, hidden, routed=crew.routed)
            if EditKind.ANSWERS in _kinds(seen):
                found.keys |= _keys_with_calls(connection, base, found.parents_since)
    own = own_events(seen.overlay)
    if own.num_rows and not found.everything:
        found.keys |= {key for keys in crew.routes(own, check) for key in keys}
    return found


def begun(seen: Seen, base: Folded, hidden: list[dict[str, Any]]) -> AffectedDocuments:
    """From where on something may differ."""
    overlay, kinds = seen.overlay, _kinds(seen)
    places = overlay.edited
    if kinds & {EditKind.ANSWERS, EditKind.BASE}:
        places = [overlay.place(seen.fork.at) + 1, *places]
    since = min(places, default=overlay.events)
    found = AffectedDocuments(since, overlay.parents_from(since))
    found.everything = EditKind.BASE in kinds
    found.hidden = hidden
    if base.first > found.parents_since:
        raise ProjectionError(f"{base.label} has no states kept before {seen.label(since)}.")
    return found


def events_at(connection: duckdb.DuckDBPyConnection, places: Sequence[int]) -> list[dict[str, Any]]:
    """`offset`, `type` and `stream` of events."""
    query = 'SELECT "offset", type, stream FROM events'
    if len(places) <= 1_000:
        listed = ", ".join(str(int(place)) for place in places) or "NULL"
        return rows_of(connection, f'{query} WHERE "offset" IN ({listed}) ORDER BY "offset"')
    connection.register("edited_places", pa.table({"offset": pa.array(places, pa.int64())}))
    return rows_of(
        connection, f'{query} SEMI JOIN edited_places USING ("offset") ORDER BY "offset"'
    )


def _kinds(seen: Seen) -> set[EditKind]:
    return {edit.kind for edit in seen.fork.active}


def _keys_of_hidden(
    connection: duckdb.DuckDBPyConnection,
    seen: Seen,
    base: Folded,
    hidden: list[dict[str, Any]],
    *,
    routed: bool,
) -> set[str]:
    if not routed:
        return {row["stream"] for row in hidden if row["stream"] is not None}
    connection.register(
        "hidden_places", pa.table({"offset": pa.array(seen.overlay.hidden, pa.int64())})
    )
    rows = connection.execute(
        'SELECT DISTINCT key FROM routes SEMI JOIN hidden_places USING ("offset")'
        " WHERE projection = ? AND timeline = ?",
        [base.number, base.timeline],
    ).fetchall()
    return {key for (key,) in rows}


def _keys_with_calls(connection: duckdb.DuckDBPyConnection, base: Folded, since: int) -> set[str]:
    rows = connection.execute(
        "SELECT DISTINCT key FROM decisions WHERE projection = ? AND timeline = ?"
        ' AND "offset" >= ? AND key IS NOT NULL',
        [base.number, base.timeline, since],
    ).fetchall()
    return {key for (key,) in rows}
