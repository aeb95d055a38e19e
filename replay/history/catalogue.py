"""Which projections a workspace knows, by name and code, and how far each has been folded.

A projection is its name and a hash of its code. When the code has changed it is another projection;
the one before is superseded, and its history is kept until a further one takes its place: of all
that are superseded the one that was folded furthest, the latest of them.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from gateway import recording_store
from gateway.modes import DEFAULT
from replay.projection import reference
from replay.projection.reference import Reference, answered_on
from replay.projection.span import Span
from storage.db.query import rows as rows_of
from storage.errors import ProjectionError
from storage.workspace import schema, validation_cache
from storage.workspace.workspace import MAIN, Workspace


@dataclass(frozen=True)
class Folded:
    """How far a projection has been folded on a timeline, and what came of it."""

    number: int
    """Its row in `projections`."""
    name: str
    hash: str
    reference: str
    files: Mapping[str, str]
    invariants: Mapping[str, str | None]
    """Those that the projection declares: name to the condition, or to None where it is a function
    of its own."""
    timeline: str
    first: int
    """The first event whose changes are known; what was before it is as if its predecessor had
    made it. 0 but for a projection over all events that was asked over a stretch of the log."""
    folded: int
    """Events folded: the offset of the next one."""
    skipped: int
    unhandled: Mapping[str, int]
    """Events that no handler was there for, by type."""
    failures: int
    keys: int
    changes: int
    parts: int
    """Changes of parts of large documents; 0 where there are none."""
    plain: bool | None
    """True: every state comes back from its JSON as it was, so a fold can be resumed from it.
    False: some don't, and all were written with care. None: not all were looked at."""
    numbers: str | None
    """Which numbers stand beside its states; see `replay.query.number_columns`."""
    seconds: float
    calls: int
    """Calls to the outside, and attempts to get there."""
    room: str | None
    """How its worker was shut in; None where it had none."""
    settings: str
    """How it met the outside, where that isn't as by default: the mode, and a hash of the rest."""
    answers_unchanged: bool
    """Whether recordings are as they were when its calls were answered from them."""
    digest: str
    """What the timeline was; see `Workspace.digest`."""
    may_read_files: bool
    """Whether its `files` may be read: the workspace is the user's own, or the user named the code."""

    @property
    def label(self) -> str:
        """`orders@3f2a`"""
        return f"{self.name}@{self.hash[:4]}"

    @property
    def hypothetical(self) -> bool:
        """Whether its calls were answered otherwise than they were."""
        return self.settings.partition(":")[0] not in ("", DEFAULT.value)

    @property
    def partial(self) -> bool:
        """Whether its history begins in the middle of the log."""
        return self.first > 0

    def knows(self, position: int) -> bool:
        """Whether the states of a position are kept."""
        return self.first - 1 <= position < max(self.folded, self.first)

    def covers(self, span: Span) -> bool:
        """Whether the states of a span are kept, the one before it included."""
        return self.first - 1 <= span.base and span.last < self.folded

    @property
    def code_unchanged(self) -> bool:
        """Whether its files are known to be what they were."""
        return self.may_read_files and reference.unchanged(self.files)


def default_python() -> str:
    """The interpreter that runs projections where none is named: refold's own."""
    return sys.executable


def known(workspace: Workspace) -> list[Folded]:
    """Projections that have a history on the timeline and aren't superseded, the newest last."""
    own = validation_cache.is_own(workspace.path)
    with workspace.file.reading() as connection:
        timeline = {"timeline": workspace.timeline}
        return _rows(connection, "NOT superseded AND timeline = $timeline", timeline, own)


def find(workspace: Workspace, wanted: Reference) -> Folded | None:
    """The history that was folded with this reference and interpreter, whatever its code now is."""
    wanted = answered_on(workspace, wanted)
    with workspace.file.reading() as connection:
        found = _rows(
            connection,
            "NOT superseded AND timeline = $timeline AND reference = $reference"
            " AND python = $python AND settings = $settings",
            {
                "timeline": workspace.timeline,
                "reference": wanted.text,
                "python": wanted.python,
                "settings": wanted.settings.digest,
            },
            may_read_files=True,
        )
    return found[-1] if found else None


def by_name(workspace: Workspace, name: str) -> Folded:
    """The history of that name (`orders` or `orders@3f2a`); raises `ProjectionError`."""
    candidates = [f for f in known(workspace) if name in (f.name, f.label)]
    if not candidates:
        there = ", ".join(f.label for f in known(workspace)) or "none yet"
        where = "" if workspace.timeline == MAIN else f" on the timeline {workspace.timeline}"
        raise ProjectionError(
            f"{workspace.path} has no projection called {name!r}{where}; it has: {there}."
        )
    return candidates[-1]


def by_number(workspace: Workspace, number: int) -> Folded:
    """The history of a projection on the timeline; raises `ProjectionError` where there is none."""
    with workspace.file.reading() as connection:
        found = _rows(
            connection,
            "p.projection = $number AND timeline = $timeline",
            {"number": number, "timeline": workspace.timeline},
            validation_cache.is_own(workspace.path),
        )
    if not found:
        raise ProjectionError(
            f"{workspace.path} has no history {number} on the timeline {workspace.timeline};"
            " fold it again with refold replay."
        )
    return found[0]


def is_refolded(connection: duckdb.DuckDBPyConnection, folded: Folded) -> bool:
    """Whether the file no longer holds a history as it was read."""
    there = _rows(
        connection,
        "p.projection = $number AND timeline = $timeline",
        {"number": folded.number, "timeline": folded.timeline},
        folded.may_read_files,
    )
    known = (folded.folded, folded.changes, folded.seconds, folded.digest)
    return [(one.folded, one.changes, one.seconds, one.digest) for one in there] != [known]


def register(
    connection: duckdb.DuckDBPyConnection,
    wanted: Reference,
    name: str,
    digest: str,
    files: Mapping[str, str],
    invariants: Mapping[str, str | None],
) -> int:
    """The number of the projection with this code; makes it the current one of its name."""
    known = number_of(connection, name, digest)
    connection.execute(
        "UPDATE projections SET superseded = true WHERE name = ? AND hash <> ? AND reference = ?"
        " AND settings = ? AND NOT superseded",
        [name, digest, wanted.text, wanted.settings.digest],
    )
    if known is not None:
        connection.execute(
            "UPDATE projections SET created = CASE WHEN superseded THEN now() ELSE created END,"
            " superseded = false, reference = ?, python = ?, files = ?, invariants = ?"
            " WHERE projection = ?",
            [wanted.text, wanted.python, json.dumps(dict(files)), json.dumps(dict(invariants))]
            + [known],
        )
        return known
    (number,) = connection.execute(
        "SELECT coalesce(max(projection), 0) + 1 FROM projections"
    ).fetchall()[0]
    connection.execute(
        "INSERT INTO projections VALUES (?, ?, ?, ?, ?, ?, ?, ?, now(), false)",
        [number, name, digest, wanted.text, wanted.python, json.dumps(dict(files))]
        + [json.dumps(dict(invariants)), wanted.settings.digest],
    )
    return int(number)


def number_of(connection: duckdb.DuckDBPyConnection, name: str, digest: str) -> int | None:
    """The number of the projection with this code; None if the workspace doesn't know it."""
    rows = connection.execute(
        "SELECT projection FROM projections WHERE name = ? AND hash = ?", [name, digest]
    ).fetchall()
    return int(rows[0][0]) if rows else None


def surplus(connection: duckdb.DuckDBPyConnection, number: int) -> list[int]:
    """Superseded projections of the same name and reference that one too many have a history."""
    rows = connection.execute(
        "SELECT old.projection FROM projections AS old JOIN projections AS new"
        " USING (name, reference, settings)"
        " JOIN folds ON folds.projection = old.projection"
        " WHERE new.projection = ? AND old.superseded GROUP BY old.projection, old.created"
        " ORDER BY max(folded) DESC, old.created DESC OFFSET 1",
        [number],
    ).fetchall()
    return [number for (number,) in rows]


def forget(connection: duckdb.DuckDBPyConnection, number: int, timeline: str | None = None) -> None:
    """Drop what was folded by a projection on a timeline, or on all, but not that it was known.

    What stands on a fold goes with it.
    """
    gone = [(number, timeline)]
    for base, below in gone:
        gone += connection.execute(
            "SELECT f.projection, f.timeline FROM forked AS f JOIN timelines AS t USING (timeline)"
            " WHERE f.base = ? AND (t.parent = ? OR ? IS NULL)",
            [base, below, below],
        ).fetchall()
    for base, below in gone:
        for table in schema.OF_FOLDS:
            condition = "" if below is None else " AND timeline = ?"
            named = [base] if below is None else [base, below]
            connection.execute(f"DELETE FROM {table} WHERE projection = ?{condition}", named)


def _rows(
    connection: duckdb.DuckDBPyConnection,
    condition: str,
    parameters: Mapping[str, Any],
    may_read_files: bool,
) -> list[Folded]:
    version = recording_store.version(connection)
    rows = rows_of(
        connection,
        "SELECT p.projection, name, hash, reference, files, invariants, timeline, first, folded, skipped,"
        " unhandled, failures, keys, changes, parts, plain, numbers, seconds, settings, room, calls,"
        " answers, digest"
        " FROM projections AS p JOIN folds AS f ON p.projection = f.projection"
        f" WHERE {condition} ORDER BY created, p.projection",
        parameters,
    )
    return [
        Folded(
            number=row["projection"],
            name=row["name"],
            hash=row["hash"],
            reference=row["reference"],
            files=json.loads(row["files"]),
            invariants=json.loads(row["invariants"]),
            timeline=row["timeline"],
            first=row["first"],
            folded=row["folded"],
            skipped=row["skipped"],
            unhandled=json.loads(row["unhandled"]),
            failures=row["failures"],
            keys=row["keys"],
            changes=row["changes"],
            parts=row["parts"],
            plain=row["plain"],
            numbers=row["numbers"],
            seconds=row["seconds"],
            calls=row["calls"],
            settings=row["settings"],
            room=row["room"],
            answers_unchanged=row["calls"] == 0 or row["answers"] == version,
            digest=row["digest"],
            may_read_files=may_read_files,
        )
        for row in rows
    ]
