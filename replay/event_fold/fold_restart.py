"""Starts a fold again when another process takes away what it stands on: a removal, or another fold."""

from typing import Protocol

from replay.event_fold.history_writer import OvertakenError
from replay.history.catalogue import Folded
from storage.errors import CancelledError, StaleError
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace


class Fold(Protocol):
    """One attempt at a fold."""

    def __call__(self, *, force: bool) -> Folded: ...


def until_current(workspace: Workspace, attempt: Fold, *, force: bool) -> Folded:
    """Return what an attempt gives that no other process has overtaken.

    The log is folded again from its start when the workspace was rewritten. A fork raises
    `StaleError` then, because its edits, of which the caller has a copy, may be others.
    """
    generation = workspace.file.generation
    while True:
        try:
            return attempt(force=force)
        except CancelledError:
            raise
        except OvertakenError:
            pass
        except StaleError:
            if isinstance(workspace, Seen):
                raise
        except Exception:
            # What the fold was asking for may be gone in the middle of a question.
            if isinstance(workspace, Seen) or not _is_rewritten(workspace, generation):
                raise
        force, generation = False, workspace.file.generation


def _is_rewritten(workspace: Workspace, generation: str | None) -> bool:
    return workspace.file.reread() or workspace.file.generation != generation
