"""What the screen asks about folds: the current history, the progress of a fold, a code edit's effect.

These functions run in threads. They take immutable values and return immutable values.
"""

import time
from dataclasses import dataclass

from replay.compare import code_edit
from replay.compare.code_edit import CodeEditComparison
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection.declaration import is_over_all_events
from replay.projection.projection_reference import Reference
from storage.errors import RefoldError
from storage.workspace.workspace import Workspace
from tui.state.fold_span import FoldSpan
from tui.state.history_view import HistoryView, find_fold, query_history


@dataclass(frozen=True)
class FoundHistory:
    """The history of a projection whose code may run, and which part of the log it needs."""

    span: FoldSpan
    view: HistoryView | None
    """None: it has to be folded, because it was not or because its code has changed."""


@dataclass(frozen=True)
class FoldProgress:
    """What a running fold has written so far."""

    view: HistoryView | None = None
    """The history to show; None: keep the one that is shown."""
    edit: CodeEditComparison | None = None
    """What a code edit changed so far."""
    comparison_seconds: float = 0.0


def find_history(workspace: Workspace, wanted: Reference, events: int) -> FoundHistory:
    """Return the history of a projection on a timeline of a number of events."""
    span = FoldSpan(events, is_over_all_events(wanted.text))
    folded = find_fold(workspace, wanted)
    is_current = folded is not None and _is_current(workspace, folded)
    view = query_history(workspace, folded) if folded is not None and is_current else None
    return FoundHistory(span, view)


def _is_current(workspace: Workspace, folded: FoldRecord) -> bool:
    """Return whether code, recordings and timeline are unchanged since the fold."""
    is_same_timeline = folded.timeline_digest == workspace.timeline_digest
    return folded.is_code_unchanged and folded.are_recordings_unchanged and is_same_timeline


@dataclass(frozen=True)
class ProgressRequest:
    """What is wanted of a running fold."""

    workspace: Workspace
    wanted: Reference
    span: FoldSpan
    position: int
    old: History | None = None
    """The history before the code edit that started the fold."""
    has_ended: bool = False
    must_compare: bool = False
    """Compare with the old history."""


def query_progress(wanted: ProgressRequest) -> FoldProgress:
    """Return what a fold has written; nothing while another process writes."""
    try:
        return _query_progress(wanted)
    except RefoldError:
        return FoldProgress()  # the next message tries again
    finally:
        wanted.workspace.release()  # the fold needs the write lock


def _query_progress(wanted: ProgressRequest) -> FoldProgress:
    folded = find_fold(wanted.workspace, wanted.wanted)
    if folded is None:
        return FoldProgress()
    is_whole = wanted.span.is_complete(folded, wanted.position)
    # The old history stays until the edited code is folded to the end.
    is_shown = wanted.old is None or (wanted.has_ended and is_whole)
    view = query_history(wanted.workspace, folded) if is_shown else None
    old = wanted.old
    if old is None or not wanted.must_compare:
        return FoldProgress(view)
    if folded.projection_number == old.fold_record.projection_number:
        return FoldProgress(view)  # the code is unchanged or not folded yet
    started = time.monotonic()
    edit = code_edit.compare_code_edit(old, History(wanted.workspace, folded))
    return FoldProgress(view, edit, time.monotonic() - started)
