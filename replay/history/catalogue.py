"""The catalogue of projections in a workspace: their names and code, and how far each is folded.

A projection is identified by its name and a hash of its code. When its code changes it becomes another
projection and supersedes the one before. Of the superseded projections of one name, only one keeps its
history: the one that was folded furthest, or the latest of these.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from gateway import recording_store
from gateway.modes import DEFAULT_MODE
from replay.projection import projection_reference
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference, apply_timeline_answers
from storage.db.query import fetch_rows
from storage.errors import ProjectionError
from storage.workspace import schema, validation_cache
from storage.workspace.workspace import MAIN_TIMELINE, Workspace


@dataclass(frozen=True)
class FoldRecord:
    """How far a projection has been folded on a timeline, and a summary of the result."""

    projection_number: int
    """Its row in `projections`."""
    name: str
    code_hash: str
    reference: str
    files: Mapping[str, str]
    invariants: Mapping[str, str | None]
    """The invariants that the projection declares: the condition of each name, or None if the
    invariant is a Python function."""
    timeline: str
    first_offset: int
    """The first event whose changes are known. The states before it are stored as if the event before
    had made them. It is above 0 only for a projection over all events that ran over a stretch of the
    log."""
    next_offset: int
    """The offset of the next event to fold."""
    skipped_events: int
    unhandled_by_type: Mapping[str, int]
    """The number of events without a handler, by type."""
    failure_count: int
    document_count: int
    change_count: int
    part_change_count: int
    """Changes of parts of large documents; 0 if there are none."""
    round_trips_json: bool | None
    """True: every state comes back from its JSON unchanged, so a fold can be resumed from it.
    False: some don't, and all were encoded with full precision. None: not all were checked."""
    number_columns: str | None
    """The paths whose numbers are stored beside the states; see `replay.query.number_columns`."""
    seconds: float
    """How long the fold took."""
    call_count: int
    """Calls to the outside, and blocked attempts to reach it."""
    isolation: str | None
    """How its worker was sandboxed; None if it had no worker."""
    settings_digest: str
    """The gateway mode and a hash of the other settings; empty for the defaults."""
    are_recordings_unchanged: bool
    """Whether the recordings have not changed since its calls were answered from them."""
    timeline_digest: str
    """The content of the timeline when it was folded; see `Workspace.digest`."""
    may_read_files: bool
    """Whether its `files` may be read: the workspace is the user's own, or the user named the code."""

    @property
    def label(self) -> str:
        """The name with the start of the code hash, such as `orders@3f2a`."""
        return f"{self.name}@{self.code_hash[:4]}"

    @property
    def is_hypothetical(self) -> bool:
        """Whether its calls were answered in another mode than the default, such as what-if."""
        return self.settings_digest.partition(":")[0] not in ("", DEFAULT_MODE.value)

    @property
    def is_partial(self) -> bool:
        """Whether its history begins in the middle of the log."""
        return self.first_offset > 0

    def has_states_at(self, position: int) -> bool:
        """Return whether the history has the states at a position."""
        return self.first_offset - 1 <= position < max(self.next_offset, self.first_offset)

    def covers(self, span: OffsetSpan) -> bool:
        """Return whether the history has all states of a span, and those at the position before it."""
        return self.first_offset - 1 <= span.position_before and span.last < self.next_offset

    @property
    def is_code_unchanged(self) -> bool:
        """Whether its files are readable and have not changed since the fold."""
        return self.may_read_files and projection_reference.are_files_unchanged(self.files)


def default_python() -> str:
    """Return the interpreter that runs projections by default: refold's own."""
    return sys.executable


def list_folds(workspace: Workspace) -> list[FoldRecord]:
    """Return the projections that have a history on the timeline and aren't superseded, newest last."""
    own = validation_cache.is_own(workspace.path)
    with workspace.main_workspace.reading() as connection:
        timeline = {"timeline": workspace.timeline}
        return _load_fold_records(
            connection, "NOT superseded AND timeline = $timeline", timeline, own
        )


def find_fold(workspace: Workspace, reference: Reference) -> FoldRecord | None:
    """Return the fold with this reference, interpreter and settings, even if its code has changed."""
    reference = apply_timeline_answers(workspace, reference)
    with workspace.main_workspace.reading() as connection:
        found = _load_fold_records(
            connection,
            "NOT superseded AND timeline = $timeline AND reference = $reference"
            " AND python = $python AND settings = $settings",
            {
                "timeline": workspace.timeline,
                "reference": reference.text,
                "python": reference.python,
                "settings": reference.gateway_settings.digest,
            },
            may_read_files=True,
        )
    return found[-1] if found else None


def get_fold_by_name(workspace: Workspace, name: str) -> FoldRecord:
    """Return the newest fold of a name (`orders` or `orders@3f2a`).

    Raises `ProjectionError` if the timeline has no such fold.
    """
    candidates = [f for f in list_folds(workspace) if name in (f.name, f.label)]
    if not candidates:
        available = ", ".join(f.label for f in list_folds(workspace)) or "none yet"
        where = (
            "" if workspace.timeline == MAIN_TIMELINE else f" on the timeline {workspace.timeline}"
        )
        raise ProjectionError(
            f"{workspace.path} has no projection called {name!r}{where}. Available: {available}."
        )
    return candidates[-1]


def get_fold_by_number(workspace: Workspace, projection_number: int) -> FoldRecord:
    """Return the fold of a projection on the timeline; raises `ProjectionError` if there is none."""
    with workspace.main_workspace.reading() as connection:
        found = _load_fold_records(
            connection,
            "p.projection = $number AND timeline = $timeline",
            {"number": projection_number, "timeline": workspace.timeline},
            validation_cache.is_own(workspace.path),
        )
    if not found:
        raise ProjectionError(
            f"{workspace.path} has no history {projection_number} on the timeline {workspace.timeline}."
            " Fold it again with refold replay."
        )
    return found[0]


def is_refolded(connection: duckdb.DuckDBPyConnection, folded: FoldRecord) -> bool:
    """Return whether the fold has been replaced or extended since its record was read."""
    stored = _load_fold_records(
        connection,
        "p.projection = $number AND timeline = $timeline",
        {"number": folded.projection_number, "timeline": folded.timeline},
        folded.may_read_files,
    )
    known = (folded.next_offset, folded.change_count, folded.seconds, folded.timeline_digest)
    return [
        (one.next_offset, one.change_count, one.seconds, one.timeline_digest) for one in stored
    ] != [known]


def register_projection(
    connection: duckdb.DuckDBPyConnection,
    reference: Reference,
    name: str,
    code_hash: str,
    files: Mapping[str, str],
    invariants: Mapping[str, str | None],
) -> int:
    """Make the projection with this code the current one of its name, and return its number."""
    known = number_of(connection, name, code_hash)
    connection.execute(
        "UPDATE projections SET superseded = true WHERE name = ? AND hash <> ? AND reference = ?"
        " AND settings = ? AND NOT superseded",
        [name, code_hash, reference.text, reference.gateway_settings.digest],
    )
    if known is not None:
        connection.execute(
            "UPDATE projections SET created = CASE WHEN superseded THEN now() ELSE created END,"
            " superseded = false, reference = ?, python = ?, files = ?, invariants = ?"
            " WHERE projection = ?",
            [
                reference.text,
                reference.python,
                json.dumps(dict(files)),
                json.dumps(dict(invariants)),
            ]
            + [known],
        )
        return known
    (projection_number,) = connection.execute(
        "SELECT coalesce(max(projection), 0) + 1 FROM projections"
    ).fetchall()[0]
    connection.execute(
        "INSERT INTO projections VALUES (?, ?, ?, ?, ?, ?, ?, ?, now(), false)",
        [
            projection_number,
            name,
            code_hash,
            reference.text,
            reference.python,
            json.dumps(dict(files)),
        ]
        + [json.dumps(dict(invariants)), reference.gateway_settings.digest],
    )
    return int(projection_number)


def number_of(connection: duckdb.DuckDBPyConnection, name: str, digest: str) -> int | None:
    """Return the number of the projection with this code; None if the workspace doesn't know it."""
    rows = connection.execute(
        "SELECT projection FROM projections WHERE name = ? AND hash = ?", [name, digest]
    ).fetchall()
    return int(rows[0][0]) if rows else None


def find_evictable_projections(
    connection: duckdb.DuckDBPyConnection, projection_number: int
) -> list[int]:
    """Return the superseded projections of the same name and reference whose history can be deleted.

    One superseded projection, the one that was folded furthest, keeps its history.
    """
    rows = connection.execute(
        "SELECT old.projection FROM projections AS old JOIN projections AS new"
        " USING (name, reference, settings)"
        " JOIN folds ON folds.projection = old.projection"
        " WHERE new.projection = ? AND old.superseded GROUP BY old.projection, old.created"
        " ORDER BY max(folded) DESC, old.created DESC OFFSET 1",
        [projection_number],
    ).fetchall()
    return [number for (number,) in rows]


def delete_fold(
    connection: duckdb.DuckDBPyConnection, projection_number: int, timeline: str | None = None
) -> None:
    """Delete the fold of a projection on a timeline, or on all timelines with None.

    The folds of forks that build on it are deleted too. The row in `projections` stays.
    """
    targets = [(projection_number, timeline)]
    for projection, fork_timeline in targets:
        targets += connection.execute(
            "SELECT f.projection, f.timeline FROM forked AS f JOIN timelines AS t USING (timeline)"
            " WHERE f.base = ? AND (t.parent = ? OR ? IS NULL)",
            [projection, fork_timeline, fork_timeline],
        ).fetchall()
    for projection, fork_timeline in targets:
        for table in schema.FOLD_TABLES:
            condition = "" if fork_timeline is None else " AND timeline = ?"
            parameters = [projection] if fork_timeline is None else [projection, fork_timeline]
            connection.execute(f"DELETE FROM {table} WHERE projection = ?{condition}", parameters)


def _load_fold_records(
    connection: duckdb.DuckDBPyConnection,
    condition: str,
    parameters: Mapping[str, Any],
    may_read_files: bool,
) -> list[FoldRecord]:
    version = recording_store.read_version(connection)
    rows = fetch_rows(
        connection,
        "SELECT p.projection, name, hash, reference, files, invariants, timeline, first, folded, skipped,"
        " unhandled, failures, keys, changes, parts, plain, numbers, seconds, settings, room, calls,"
        " answers, digest"
        " FROM projections AS p JOIN folds AS f ON p.projection = f.projection"
        f" WHERE {condition} ORDER BY created, p.projection",
        parameters,
    )
    return [
        FoldRecord(
            projection_number=row["projection"],
            name=row["name"],
            code_hash=row["hash"],
            reference=row["reference"],
            files=json.loads(row["files"]),
            invariants=json.loads(row["invariants"]),
            timeline=row["timeline"],
            first_offset=row["first"],
            next_offset=row["folded"],
            skipped_events=row["skipped"],
            unhandled_by_type=json.loads(row["unhandled"]),
            failure_count=row["failures"],
            document_count=row["keys"],
            change_count=row["changes"],
            part_change_count=row["parts"],
            round_trips_json=row["plain"],
            number_columns=row["numbers"],
            seconds=row["seconds"],
            call_count=row["calls"],
            settings_digest=row["settings"],
            isolation=row["room"],
            are_recordings_unchanged=row["calls"] == 0 or row["answers"] == version,
            timeline_digest=row["digest"],
            may_read_files=may_read_files,
        )
        for row in rows
    ]
