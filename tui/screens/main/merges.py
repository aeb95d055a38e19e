"""Merging two forks, and resolving their conflicts."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from replay.forks import edit_builder
from storage.errors import QueryError
from storage.plural import format_count
from storage.timelines import forked_workspace
from tui.results import fork_queries
from tui.screens.main.handler_commands import NamedCode
from tui.screens.main.ports import Notifier, Prompts
from tui.screens.main.results import ResultsController
from tui.screens.main.timelines import FORK_GROUP, TimelineTarget, find_target
from tui.state.query_runner import QueryRunner
from tui.state.view_state import ViewState

if TYPE_CHECKING:
    from replay.forks.fork_merge import DocumentConflict, MergeResult


class MergeController:
    """Merges the shown fork with another one."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        prompts: Prompts,
        results: ResultsController,
        folds: NamedCode,
    ) -> None:
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._prompts = prompts
        self._results = results
        self._folds = folds
        self._merged_fork: str | None = None
        """The fork that the current fork will be merged with."""
        self._conflicts: Mapping[str, DocumentConflict] = MappingProxyType({})
        """Documents that both merged forks changed, by key."""
        prompts.answer_with("join", self.merge)
        prompts.answer_with("resolve", self.resolve)

    @property
    def conflict(self) -> "DocumentConflict | None":
        """The merge conflict of the selected document; None without one."""
        return self._conflicts.get(self._state.key or "")

    def ask_name(self, other: str) -> None:
        """Ask for the name of the merge of the current fork with another one."""
        self._merged_fork = other
        self._prompts.open("join", f"{self._state.data.workspace.timeline}-{other}")

    def merge(self, name: str) -> None:
        """Merge the current fork with the chosen one."""
        other, wanted = self._merged_fork, self._folds.current
        shown, position = self._state.data, self._state.position
        if other is None:
            return

        def merge(_: object) -> "tuple[MergeResult, TimelineTarget]":
            from replay.fold import fold_projection  # noqa: PLC0415 - it imports Arrow, and the first paint needn't
            from replay.forks import fork_merge  # noqa: PLC0415 - it imports Arrow, and most forks are never merged

            if wanted is None:
                raise QueryError("No code to run. Open the workspace with its projection: -p FILE.")
            workspace = shown.workspace
            fold = partial(fold_projection, reference=wanted)
            theirs = forked_workspace.open_timeline(workspace.main_workspace, other)
            joined = fork_merge.merge_forks(workspace, theirs, name, wanted, fold)
            return joined, find_target(shown, position, joined.forked_workspace)

        self._runner.run(
            merge, self._show_merge, group=FORK_GROUP, failure="The forks can't be merged"
        )

    def _show_merge(self, merged: "tuple[MergeResult, TimelineTarget]") -> None:
        joined, target = merged
        self._state.show_timeline(target.timeline, target.position)
        conflicts = joined.document_conflicts
        self._conflicts = {one.key: one for one in conflicts}
        edited = format_count(len(joined.event_conflicts), "event")
        both = format_count(len(conflicts), "document")
        self._notifier.show_message(
            f"Conflicts: both edited {edited} and changed {both}. O resolves one."
            if joined.event_conflicts or conflicts
            else "Merged without conflicts."
        )
        if conflicts:
            self._results.run_query(lambda data: fork_queries.merge_conflicts(data, conflicts))

    def ask_resolution(self) -> None:
        """Ask how to resolve the conflict of the selected document."""
        if self.conflict is not None:
            self._prompts.open("resolve", "a")

    def resolve(self, text: str) -> None:
        """Resolve the conflict of the selected document."""
        shown, position, conflict = self._state.data, self._state.position, self.conflict
        fork = shown.fork
        if conflict is None or fork is None:
            return

        def resolve(_: object) -> TimelineTarget:
            from replay.forks import fork_merge  # noqa: PLC0415 - it imports Arrow

            resolved = fork_merge.resolve_conflict(fork, conflict, text)
            return find_target(shown, position, edit_builder.save_fork(resolved))

        self._runner.run(
            resolve,
            lambda target: self._state.show_timeline(target.timeline, target.position),
            group=FORK_GROUP,
            failure="The conflict can't be resolved",
        )
