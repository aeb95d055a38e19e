"""A log that grows while it is looked at: another process loads what is new, as `refold load --follow` does.

Who stands at the end goes with it; who stands elsewhere stays, and the counters run. What is new is folded.
A fork is looked at anew, so that waits until no table, plot or filter is open.
"""

from pathlib import Path
from typing import ClassVar

from textual import work

from storage.errors import RefoldError
from storage.log.event_log import Extent
from storage.timelines import workspace_view
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace
from tui.screens.main.sweeps import SweepsScreen
from tui.state.snapshot import Outlook
from tui.widgets.events_pane import EventsPane
from tui.widgets.results_pane import FindingsPane


class GrowingScreen(SweepsScreen):
    """The part of the travel screen that notices what was appended."""

    LOOK_SECONDS: ClassVar[float] = 1.0
    """How often the workspace is looked at."""

    _file_was: tuple[int, ...] = ()
    """Times and sizes of the workspace's files when it was asked last."""

    def watch_growth(self) -> None:
        """Look at the workspace from now on."""
        self.set_interval(self.LOOK_SECONDS, self._look)

    def grown(self, position: int) -> None:
        """More events are there than before: show it, and stand at a position."""
        raise NotImplementedError

    @work(thread=True, exclusive=True, group="growth", exit_on_error=False)
    def _look(self) -> None:
        workspace = self._model.workspace
        now = _files(workspace.path)
        if now == self._file_was:
            return
        try:
            if isinstance(workspace, Seen):
                outlook = self._model.outlook(workspace_view.on(workspace.file, workspace.timeline))
                extent = outlook.extent
            else:
                outlook, extent = None, self._model.log.extent()
        except RefoldError:
            return  # someone writes just now, or the fork isn't kept yet; it is looked at again
        if extent.events <= self._model.extent.events:
            self._file_was = now
        elif outlook is None:
            self._file_was = now
            self.app.call_from_thread(self._take_growth, workspace, extent)
        else:
            self.app.call_from_thread(self._see_growth, workspace, outlook, now)

    def _see_growth(self, before: Workspace, outlook: Outlook, now: tuple[int, ...]) -> None:
        """The fork's parent has grown."""
        busy = self._folds.running or self._filtered is not None or self._matches is not None
        open_ = self.query_one(FindingsPane).display or self.plotted
        if before is not self._model.workspace or busy or open_:
            return
        self._file_was = now
        at_end = self.position == self._model.extent.events - 1
        self.see(outlook, outlook.extent.events - 1 if at_end else self.position)

    def _take_growth(self, workspace: object, extent: Extent) -> None:
        before = self._model.extent
        if workspace is not self._model.workspace or extent.events <= before.events:
            return
        at_end = self.position == before.events - 1
        self._model.grow(extent)
        if self._filtered is None:
            self.query_one(EventsPane).show_all(extent.events)
        self._folds.grow()
        self.grown(extent.events - 1 if at_end else self.position)


def _files(path: Path) -> tuple[int, ...]:
    found: list[int] = []
    for file in (path, Path(f"{path}.wal")):
        try:
            status = file.stat()
        except OSError:
            continue
        found += [status.st_mtime_ns, status.st_size]
    return tuple(found)
