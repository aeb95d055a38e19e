"""Edits made on the screen, applied to the fork as stored in the file, not to the screen's copy."""

from collections.abc import Callable

from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from storage.log.positions import START
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork
from storage.workspace.workspace import Workspace

EditRequest = Callable[[EditBuilder, int], object]
"""Makes the requested edits at the current position of the selected event."""


def make(
    shown: Workspace, name: str | None, edit: EditRequest | None, position: int
) -> ForkedWorkspace:
    """Fork the shown timeline under a name, or edit it if it is a fork and no name is given.

    `position` is a position of the timeline as shown. Return the stored fork.
    """
    label = shown.label_at(position) if position != START else None

    def attempt(workspace: Workspace) -> ForkedWorkspace:
        at = START if label is None else workspace.position_of(label)
        made = EditBuilder(workspace, name or workspace.timeline)
        if edit is not None:
            edit(made, at)
        fork = as_fork(workspace)
        if name is None and fork is not None:
            return edit_builder.append_edits(fork, made.edits)
        return edit_builder.create_fork(
            workspace, made.name, made.edits, fork_position=at if edit is None else None
        )

    return edit_builder.change(_kept(shown), attempt)


def turn(
    shown: Workspace, undo_or_redo: Callable[[ForkedWorkspace], ForkedWorkspace | None]
) -> ForkedWorkspace | None:
    """Undo or redo a step of the shown fork; return None if there is no such step."""

    def attempt(workspace: Workspace) -> ForkedWorkspace | None:
        fork = as_fork(workspace)
        return None if fork is None else undo_or_redo(fork)

    return edit_builder.change(_kept(shown), attempt)


def resolve(workspace: Workspace, text: str) -> int:
    """Return the position for a typed text."""
    from storage.log import positions  # noqa: PLC0415 - only typed positions need it

    return positions.resolve_position(workspace, text)


def _kept(workspace: Workspace) -> Workspace:
    """Return the timeline; save it first if it is a fork that is not stored yet."""
    fork = as_fork(workspace)
    if fork is not None and fork.fork.created is None:
        return edit_builder.save_fork(fork)
    return workspace
