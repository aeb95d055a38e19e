"""What a fork's history has in common with its parent's, and what is its own."""

from dataclasses import dataclass

from replay.history import catalogue
from replay.history.history import History
from storage.quoting import quoted
from storage.timelines.workspace_view import Seen


@dataclass(frozen=True)
class Forked:
    """A history on a fork, beside the one that it stands on."""

    history: History
    parent: History
    seen: Seen
    since: int
    """The first place from which on anything may be otherwise."""
    everything: bool
    """Whether every document may be, and not only those that were touched."""

    @property
    def parents_since(self) -> int:
        """The parent's place from which on anything may be otherwise."""
        return self.seen.overlay.parents_from(self.since)

    @property
    def touched(self) -> str:
        """SQL for the keys of the documents that may be otherwise."""
        return (
            f"SELECT key FROM touched WHERE projection = {int(self.history.folded.number)}"
            f" AND timeline = {quoted(self.history.folded.timeline)}"
        )


def forked(history: History) -> Forked | None:
    """What the history stands on; None where it stands on nothing but events."""
    seen = history.workspace
    if not isinstance(seen, Seen):
        return None
    folded = history.folded
    with seen.file.reading() as connection:
        rows = connection.execute(
            "SELECT base, since, everything FROM forked WHERE projection = ? AND timeline = ?",
            [folded.number, folded.timeline],
        ).fetchall()
    if not rows:
        return None
    number, since, everything = rows[0]
    parent = History(seen.parent, catalogue.by_number(seen.parent, number))
    return Forked(history, parent, seen, since, everything)
