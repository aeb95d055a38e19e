"""The catalogue of folds in a workspace: which projections are folded on a timeline, and how far.

A projection is identified by its name and a hash of its code; see `storage.folds.projection_rows`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from gateway import recording_store
from gateway.modes import DEFAULT_MODE
from replay.projection import projection_reference
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference, apply_timeline_answers
from storage.coordinates.fold_scope import FoldScope
from storage.errors import ProjectionError
from storage.folds import fold_rows
from storage.folds.fold_rows import StoredFold
from storage.workspace import validation_cache
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
    def scope(self) -> FoldScope:
        """Selects its rows in the tables of the workspace."""
        return FoldScope(self.projection_number, self.timeline)

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
    with workspace.main_workspace.reading() as connection:
        return _build_fold_records(
            connection,
            fold_rows.find_folds(connection, workspace.timeline),
            may_read_files=validation_cache.is_own(workspace.path),
        )


def find_fold(workspace: Workspace, reference: Reference) -> FoldRecord | None:
    """Return the fold with this reference, interpreter and settings, even if its code has changed."""
    reference = apply_timeline_answers(workspace, reference)
    with workspace.main_workspace.reading() as connection:
        stored = fold_rows.find_folds(
            connection,
            workspace.timeline,
            reference=reference.text,
            python=reference.python,
            settings_digest=reference.gateway_settings.digest,
        )
        found = _build_fold_records(connection, stored, may_read_files=True)
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
        found = _build_fold_records(
            connection,
            fold_rows.find_folds(
                connection, workspace.timeline, projection_number=projection_number
            ),
            may_read_files=validation_cache.is_own(workspace.path),
        )
    if not found:
        raise ProjectionError(
            f"{workspace.path} has no history {projection_number} on the timeline {workspace.timeline}."
            " Fold it again with refold replay."
        )
    return found[0]


def is_refolded(connection: duckdb.DuckDBPyConnection, folded: FoldRecord) -> bool:
    """Return whether the fold has been replaced or extended since its record was read."""
    stored = fold_rows.read_fold(connection, folded.scope)
    known = (folded.next_offset, folded.change_count, folded.timeline_digest, folded.seconds)
    return stored is None or stored.flush_id != known


def _build_fold_records(
    connection: duckdb.DuckDBPyConnection, stored_folds: list[StoredFold], *, may_read_files: bool
) -> list[FoldRecord]:
    version = recording_store.read_version(connection)
    return [
        build_fold_record(stored, version, may_read_files=may_read_files) for stored in stored_folds
    ]


def build_fold_record(
    stored: StoredFold, recordings_version: int, *, may_read_files: bool
) -> FoldRecord:
    """Return the record of a stored fold; `recordings_version` is that of the recordings now."""
    return FoldRecord(
        projection_number=stored.scope.projection_number,
        name=stored.projection.name,
        code_hash=stored.projection.code_hash,
        reference=stored.projection.reference,
        files=stored.projection.files,
        invariants=stored.projection.invariants,
        timeline=stored.scope.timeline,
        first_offset=stored.totals.first_offset,
        next_offset=stored.totals.next_offset,
        skipped_events=stored.totals.skipped_events,
        unhandled_by_type=stored.totals.unhandled_by_type,
        failure_count=stored.totals.failure_count,
        document_count=stored.totals.document_count,
        change_count=stored.totals.change_count,
        part_change_count=stored.totals.part_change_count,
        round_trips_json=stored.totals.round_trips_json,
        number_columns=stored.totals.number_columns,
        seconds=stored.totals.seconds,
        call_count=stored.totals.call_count,
        settings_digest=stored.projection.settings_digest,
        isolation=stored.totals.isolation,
        are_recordings_unchanged=stored.totals.call_count == 0
        or stored.totals.recordings_version == recordings_version,
        timeline_digest=stored.totals.timeline_digest,
        may_read_files=may_read_files,
    )
