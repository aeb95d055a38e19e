"""Following a log that grows while the screen is open, because another process loads new events.

If the position is at the end of the log, it moves to the new end, else it stays. New events are
folded. A fork is opened again when its parent grows, but only while no table, plot or filter is open.
"""

from pathlib import Path
from typing import ClassVar

from textual import work

from storage.errors import RefoldError
from storage.log.event_log import LogExtent
from storage.timelines import forked_workspace
from storage.workspace.workspace import Workspace
from tui.screens.main.sweeps import SweepsScreen
from tui.state.snapshot import TimelineView
from tui.widgets.events_pane import EventsPane
from tui.widgets.results_pane import ResultsPane


class LogFollowScreen(SweepsScreen):
    """The part of the main screen that notices appended events."""

    POLL_SECONDS: ClassVar[float] = 1.0
    """Seconds between two looks at the workspace's files."""

    _last_file_stamp: tuple[int, ...] = ()
    """Times and sizes of the workspace's files at the last query."""

    def follow_log(self) -> None:
        """Start polling the workspace's files."""
        self.set_interval(self.POLL_SECONDS, self._poll_file)

    def show_new_events(self, position: int) -> None:
        """Show that the log has more events, at a position."""
        raise NotImplementedError

    @work(thread=True, exclusive=True, group="growth", exit_on_error=False)
    def _poll_file(self) -> None:
        workspace = self._model.workspace
        now = _file_stamp(workspace.path)
        if now == self._last_file_stamp:
            return
        try:
            if workspace.lineage:
                outlook = self._model.query_timeline(
                    forked_workspace.open_timeline(workspace.main_workspace, workspace.timeline)
                )
                extent = outlook.extent
            else:
                outlook, extent = None, self._model.log.read_extent()
        except RefoldError:
            return  # another process is writing, or the fork isn't saved yet; the next poll tries again
        if extent.event_count <= self._model.extent.event_count:
            self._last_file_stamp = now
        elif outlook is None:
            self._last_file_stamp = now
            self.app.call_from_thread(self._on_log_grown, workspace, extent)
        else:
            self.app.call_from_thread(self._on_parent_grown, workspace, outlook, now)

    def _on_parent_grown(
        self, before: Workspace, outlook: TimelineView, now: tuple[int, ...]
    ) -> None:
        """Open the fork again because its parent has grown."""
        busy = self._folds.running or self._filtered is not None or self._matches is not None
        open_ = self.query_one(ResultsPane).display or self.has_plot
        if before is not self._model.workspace or busy or open_:
            return
        self._last_file_stamp = now
        at_end = self.position == self._model.extent.event_count - 1
        self.show_timeline(outlook, outlook.extent.event_count - 1 if at_end else self.position)

    def _on_log_grown(self, workspace: object, extent: LogExtent) -> None:
        before = self._model.extent
        if workspace is not self._model.workspace or extent.event_count <= before.event_count:
            return
        at_end = self.position == before.event_count - 1
        self._model.extend_log(extent)
        if self._filtered is None:
            self.query_one(EventsPane).show_all(extent.event_count)
        self._folds.fold_new_events()
        self.show_new_events(extent.event_count - 1 if at_end else self.position)


def _file_stamp(path: Path) -> tuple[int, ...]:
    found: list[int] = []
    for file in (path, Path(f"{path}.wal")):
        try:
            status = file.stat()
        except OSError:
            continue
        found += [status.st_mtime_ns, status.st_size]
    return tuple(found)
