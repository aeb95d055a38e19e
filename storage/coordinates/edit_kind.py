"""The kinds of edits that a fork can have."""

from enum import Enum


class EditKind(Enum):
    """What an edit changes on a fork."""

    DROP = "drop"
    REPLACE = "replace"
    INSERT = "insert"
    MOVE = "move"
    ANSWERS = "answers"
    """Overrides answers to calls from the fork on; the value is the override as JSON."""
    BASE = "base"
    """Takes the states at the fork from another projection, or from other code; the value is its label."""

    @property
    def is_about_event(self) -> bool:
        """Whether an edit of this kind changes one event."""
        return self not in (EditKind.ANSWERS, EditKind.BASE)

    @property
    def needs_event(self) -> bool:
        """Whether an edit of this kind contains an event."""
        return self in (EditKind.REPLACE, EditKind.INSERT, EditKind.MOVE)
