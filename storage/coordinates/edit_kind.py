"""The kinds of edits that a fork can have."""

from enum import Enum


class EditKind(Enum):
    """What is otherwise."""

    DROP = "drop"
    REPLACE = "replace"
    INSERT = "insert"
    MOVE = "move"
    ANSWERS = "answers"
    """Calls to the outside are answered otherwise from the fork on: an override, as JSON."""
    BASE = "base"
    """The states at the fork are those of another projection, or of other code: its label."""

    @property
    def is_about_event(self) -> bool:
        """Whether it is about an event."""
        return self not in (EditKind.ANSWERS, EditKind.BASE)

    @property
    def needs_event(self) -> bool:
        """Whether an edit of this kind holds an event."""
        return self in (EditKind.REPLACE, EditKind.INSERT, EditKind.MOVE)
