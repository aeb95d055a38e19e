"""The history of a fork, which shares with its parent's history all changes before the first edit."""

from dataclasses import dataclass

from replay.history import catalogue
from replay.history.history import History
from storage.folds import fork_base_rows
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork


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
        return fork_base_rows.refolded_keys_sql(self.history.scope)


def find_forked_history(history: History) -> ForkedHistory | None:
    """Return a fork's history with its parent's; None if it was folded from its events alone."""
    forked_workspace = as_fork(history.workspace)
    if forked_workspace is None:
        return None
    with forked_workspace.main_workspace.reading() as connection:
        base = fork_base_rows.read_fork_base(connection, history.scope)
    if base is None:
        return None
    parent = History(
        forked_workspace.parent,
        catalogue.get_fold_by_number(forked_workspace.parent, base.base_number),
    )
    return ForkedHistory(
        history, parent, forked_workspace, base.since_position, base.affects_all_documents
    )
