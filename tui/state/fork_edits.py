"""Edits of the screen, made on the fork as the file holds it, not on the screen's copy of it."""

from collections.abc import Callable

from replay.forks import edit_builder
from replay.forks.edit_builder import Editing
from storage.log.positions import START
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

Wish = Callable[[Editing, int], object]
"""Makes the edits that a person asked for, at the place where the selected event is by then."""


def make(shown: Workspace, name: str | None, wish: Wish | None, position: int) -> Seen:
    """Fork the timeline that is shown under a name, or edit it if it is a fork and no name is given.

    `position` is one of the timeline as it is shown. Return the fork as it is kept.
    """
    label = shown.label(position) if position != START else None

    def attempt(workspace: Workspace) -> Seen:
        at = START if label is None else workspace.place(label)
        made = Editing(workspace, name or workspace.timeline)
        if wish is not None:
            wish(made, at)
        if name is None and isinstance(workspace, Seen):
            return edit_builder.edited(workspace, made.edits)
        return edit_builder.fork(workspace, made.name, made.edits, at=at if wish is None else None)

    return edit_builder.change(_kept(shown), attempt)


def turn(shown: Workspace, turned: Callable[[Seen], Seen | None]) -> Seen | None:
    """Undo or redo a step of the fork that is shown; None where there is no such step."""

    def attempt(workspace: Workspace) -> Seen | None:
        return turned(workspace) if isinstance(workspace, Seen) else None

    return edit_builder.change(_kept(shown), attempt)


def resolve(workspace: Workspace, text: str) -> int:
    """Return the place of a position that a person typed."""
    from storage.log import positions  # noqa: PLC0415 - by those who type one

    return positions.resolve(workspace, text)


def _kept(workspace: Workspace) -> Workspace:
    """The timeline, kept if it is a fork that so far only the screen knows."""
    if isinstance(workspace, Seen) and workspace.fork.created is None:
        return edit_builder.keep(workspace)
    return workspace
