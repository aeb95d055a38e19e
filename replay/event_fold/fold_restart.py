"""Starts a fold again when another process takes away what it stands on: a removal, or another fold."""

from typing import Protocol

from replay.event_fold.history_writer import ConcurrentFoldError
from replay.history.catalogue import FoldRecord
from storage.errors import CancelledError, StaleError
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import Workspace


class Fold(Protocol):
    """One attempt at a fold."""

    def __call__(self, *, force: bool) -> FoldRecord: ...


def until_current(workspace: Workspace, attempt: Fold, *, force: bool) -> FoldRecord:
    """Return what an attempt gives that no other process has overtaken.

    The log is folded again from its start when the workspace was rewritten. A fork raises
    `StaleError` then, because its edits, of which the caller has a copy, may be others.
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
            if isinstance(workspace, ForkedWorkspace):
                raise
        except Exception:
            # What the fold was asking for may be gone in the middle of a question.
            if isinstance(workspace, ForkedWorkspace) or not _is_rewritten(workspace, generation):
                raise
        force, generation = False, workspace.main_workspace.generation


def _is_rewritten(workspace: Workspace, generation: str | None) -> bool:
    return workspace.main_workspace.reread() or workspace.main_workspace.generation != generation
