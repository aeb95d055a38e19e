"""Restarts a fold when another process interferes: by an erasure or by folding the same projection."""

from typing import Protocol

from replay.event_fold.history_writer import ConcurrentFoldError
from replay.history.catalogue import FoldRecord
from storage.errors import CancelledError, StaleError
from storage.timelines import fork_store, forked_workspace
from storage.workspace.workspace import Workspace


class Fold(Protocol):
    """One attempt at a fold."""

    def __call__(self, *, force: bool) -> FoldRecord: ...


def repeat_until_current(workspace: Workspace, attempt: Fold, *, force: bool) -> FoldRecord:
    """Repeat `attempt` until no other process interferes, and return its result.

    A rewritten workspace is folded again from its start. A fork raises `StaleError` then if its edits in
    the file are no longer those that the caller holds.
    """
    generation = workspace.main_workspace.generation
    while True:
        try:
            return attempt(force=force)
        except CancelledError:
            raise
        except ConcurrentFoldError:
            pass
        except StaleError:
            if not _has_current_edits(workspace):
                raise
        except Exception:
            # A rewrite in the middle of a query may make the query fail with any error.
            if not (_is_rewritten(workspace, generation) and _has_current_edits(workspace)):
                raise
        force, generation = False, workspace.main_workspace.generation


def _has_current_edits(workspace: Workspace) -> bool:
    """Return whether the file holds the edits of a fork as the caller does; true for the log."""
    try:
        with workspace.main_workspace.reading() as connection:
            fork_store.refuse_stale(connection, forked_workspace.list_fork_values(workspace))
    except StaleError:
        return False
    return True


def _is_rewritten(workspace: Workspace, generation: str | None) -> bool:
    return workspace.main_workspace.reread() or workspace.main_workspace.generation != generation
