"""The history of a fork, which shares with its parent's history all changes before the first edit."""

from dataclasses import dataclass

from replay.history import catalogue
from replay.history.history import History
from storage.quoting import quote_literal
from storage.timelines.forked_workspace import ForkedWorkspace


@dataclass(frozen=True)
class ForkedHistory:
    """A history on a fork, and the parent's history on which it builds."""

    history: History
    parent: History
    workspace: ForkedWorkspace
    since_position: int
    """The first position on the fork at which a state may differ from the parent's."""
    affects_all_documents: bool
    """Whether every document may differ; false: only the keys of `affected_keys_sql`."""

    @property
    def parent_since_position(self) -> int:
        """The first position on the parent at which a state may differ from the fork's."""
        return self.workspace.position_map.first_parent_position_from(self.since_position)

    @property
    def affected_keys_sql(self) -> str:
        """SQL for the keys of the documents that may differ."""
        return (
            f"SELECT key FROM touched WHERE projection = {int(self.history.fold_record.projection_number)}"
            f" AND timeline = {quote_literal(self.history.fold_record.timeline)}"
        )


def find_forked_history(history: History) -> ForkedHistory | None:
    """Return a fork's history with its parent's; None if it was folded from its events alone."""
    forked_workspace = history.workspace
    if not isinstance(forked_workspace, ForkedWorkspace):
        return None
    fold_record = history.fold_record
    with forked_workspace.main_workspace.reading() as connection:
        rows = connection.execute(
            "SELECT base, since, everything FROM forked WHERE projection = ? AND timeline = ?",
            [fold_record.projection_number, fold_record.timeline],
        ).fetchall()
    if not rows:
        return None
    parent_projection, since_position, affects_all_documents = rows[0]
    parent = History(
        forked_workspace.parent,
        catalogue.get_fold_by_number(forked_workspace.parent, parent_projection),
    )
    return ForkedHistory(history, parent, forked_workspace, since_position, affects_all_documents)
