"""Timelines: open one at the same event, list, remove."""

from collections.abc import Callable
from dataclasses import dataclass

from replay.forks import edit_builder
from storage.coordinates.event_labels import Label
from storage.errors import PositionError, QueryError
from storage.timelines import fork_store, forked_workspace
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import MAIN_TIMELINE, Workspace
from tui.screens.dialogs.timelines import TimelinesScreen
from tui.screens.main.ports import Notifier, PromptInput, Prompts, ScreenOpener
from tui.state.query_runner import QueryRunner
from tui.state.shown_data import ShownData
from tui.state.timeline_view import TimelineView, query_timeline
from tui.state.view_state import ViewState

FORK_GROUP = "fork"
"""The group of the queries that open or change a timeline: only the last one counts."""


@dataclass(frozen=True)
class TimelineTarget:
    """A timeline to show, and the position to show it at."""

    timeline: TimelineView
    position: int


def find_target(shown: ShownData, position: int, workspace: Workspace) -> TimelineTarget:
    """Query a timeline and the position of the shown event on it. Call it in a thread."""
    timeline = query_timeline(workspace)
    label = shown.workspace.label_at(position)
    try:
        found = workspace.position_of(label)
    except PositionError:
        found = workspace.position_of(Label(min(label.offset, timeline.last_position)))
    return TimelineTarget(timeline, found)


class TimelineController:
    """Shows other timelines."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        prompts: Prompts,
        screens: ScreenOpener,
        ask_merge: Callable[[str], object],
    ) -> None:
        """`ask_merge` asks how to merge a fork with the current one."""
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._prompts = prompts
        self._screens = screens
        self._ask_merge = ask_merge

    def open_workspace(
        self,
        find: Callable[[], Workspace | None],
        *,
        typed: PromptInput | None = None,
        otherwise: str = "",
        then: Callable[[], object] | None = None,
    ) -> None:
        """Show the timeline that `find` returns, at the same event.

        `find` runs in a thread. If it returns None, the message `otherwise` is shown. `typed` is the
        prompt input to correct on an error; `then` is called when the timeline is shown.
        """
        shown, position = self._state.data, self._state.position

        def query(_: object) -> TimelineTarget | None:
            workspace = find()
            return None if workspace is None else find_target(shown, position, workspace)

        def show(target: TimelineTarget | None) -> None:
            if target is not None:
                self._state.show_timeline(target.timeline, target.position)
            elif otherwise:
                self._notifier.show_message(otherwise)
            if target is not None and then is not None:
                then()

        self._runner.run(
            query,
            show,
            group=FORK_GROUP,
            failure="The timeline can't be shown",
            on_error=lambda message: self._prompts.correct(message, typed),
        )

    def open_by_name(self, name: str) -> None:
        """Show the timeline of a name."""
        main = self._state.data.workspace.main_workspace
        self.open_workspace(lambda: forked_workspace.open_timeline(main, name))

    def open_variant(self, variant: ForkedWorkspace, *, is_saved: bool) -> None:
        """Show a fork that may be in memory only; with `is_saved` it is saved before."""
        data, name = self._state.data, variant.timeline

        def find() -> Workspace:
            if name in data.fork_names:
                return forked_workspace.open_timeline(data.workspace.main_workspace, name)
            return edit_builder.save_fork(variant) if is_saved else variant

        self.open_workspace(find)

    def list(self) -> None:
        """Show the tree of timelines."""
        data = self._state.data
        self._screens.push_screen(
            TimelinesScreen(data.timeline.timelines, data.workspace.timeline), self._on_chosen
        )

    def _on_chosen(self, chosen: tuple[str, str] | None) -> None:
        if chosen is None:
            return
        what, name = chosen
        act = {"open": self.open_by_name, "remove": self.remove, "join": self._ask_merge}
        act[what](name)

    def remove(self, name: str) -> None:
        """Remove a fork."""
        workspace = self._state.data.workspace

        def remove(_: object) -> list[Fork]:
            if name == MAIN_TIMELINE:
                raise QueryError("The log itself can't be removed.")
            if name == workspace.timeline:
                raise QueryError("This timeline is open. Open another one first.")
            fork_store.remove_fork(workspace.main_workspace, name)
            return fork_store.list_forks(workspace)

        def removed(forks: "list[Fork]") -> None:
            self._state.set_forks(forks)
            self._notifier.show_message(f"Removed {name}.")

        self._runner.run(remove, removed, group=FORK_GROUP, failure="The fork can't be removed")
