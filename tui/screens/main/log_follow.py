"""Following a log that grows while the screen is open, because another process loads new events.

If the position is at the end of the log, it moves to the new end, else it stays. New events are
folded. A fork is opened again when its parent grows, but only while no table, plot or filter is open.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from storage.errors import RefoldError
from storage.log.event_log import LogExtent
from storage.timelines import forked_workspace
from tui.state.query_runner import Query, QueryRunner
from tui.state.shown_data import ShownData
from tui.state.timeline_view import TimelineView, query_timeline
from tui.state.view_state import ViewState

FileStamp = tuple[int, ...]
"""Times and sizes of the workspace's files."""


class FollowingFolds(Protocol):
    """The folds, as far as a growing log needs them."""

    def fold_new_events(self) -> None: ...


@dataclass(frozen=True)
class Growth:
    """What a poll has found: the extent of the log now, or of a fork opened again."""

    stamp: FileStamp
    extent: LogExtent
    reopened_fork: TimelineView | None = None


class FollowController:
    """Polls the workspace's files, and shows appended events."""

    POLL_SECONDS = 1.0

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        folds: FollowingFolds,
        is_busy: Callable[[], bool],
    ) -> None:
        """`is_busy` returns whether the person works with something that a new timeline would close."""
        self._state = state
        self._runner = runner
        self._folds = folds
        self._is_busy = is_busy
        self._last_stamp: FileStamp = ()
        self._poll: Query | None = None

    def poll(self) -> None:
        """Look for new events in a thread. Call it every `POLL_SECONDS`."""
        if self._poll is not None and not self._poll.is_finished:
            return  # a slow file: a new poll would never let the one before it end
        data, last_stamp = self._state.data, self._last_stamp
        self._poll = self._runner.run(
            lambda _: _find_growth(data, last_stamp),
            partial(self._take_growth, data),
            failure="New events can't be read",
        )

    def _take_growth(self, before: ShownData, growth: Growth | None) -> None:
        shown = self._state.data
        if growth is None or before.workspace is not shown.workspace:
            return
        count = growth.extent.event_count
        is_at_end = self._state.position == shown.timeline.last_position
        position = count - 1 if is_at_end else self._state.position
        if count <= shown.extent.event_count:
            self._last_stamp = growth.stamp
        elif growth.reopened_fork is None:
            self._last_stamp = growth.stamp
            self._state.extend_log(growth.extent)
            self._folds.fold_new_events()
            if position != self._state.position:
                self._state.move_to(position)
        elif not self._is_busy():
            self._last_stamp = growth.stamp
            self._state.show_timeline(growth.reopened_fork, position)


def _find_growth(data: ShownData, last_stamp: FileStamp) -> Growth | None:
    """Return the log's extent if the files have changed since a stamp. Call it in a thread."""
    stamp = _stamp_files(data.workspace.path)
    if stamp == last_stamp:
        return None
    fork = data.fork
    try:
        if fork is None:
            return Growth(stamp, data.log.read_extent())
        opened = query_timeline(forked_workspace.open_timeline(fork.main_workspace, fork.timeline))
    except RefoldError:
        # Another process is writing, or the fork isn't saved yet; the next poll tries again.
        return None
    return Growth(stamp, opened.extent, opened)


def _stamp_files(path: Path) -> FileStamp:
    found: list[int] = []
    for file in (path, Path(f"{path}.wal")):
        try:
            status = file.stat()
        except OSError:
            continue
        found += [status.st_mtime_ns, status.st_size]
    return tuple(found)
