"""What follows the position and the log by itself, without an application."""

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from storage.coordinates.offset_set import pack_offsets
from storage.errors import QueryError
from storage.workspace.workspace import Workspace
from tests.tui.screens.main.collaborators import Desk, Pane
from tui.commands import COMMANDS
from tui.screens.main import command_table
from tui.screens.main.code import CodeController
from tui.screens.main.escape import EscapeController
from tui.screens.main.handler_commands import HandlerCommandController
from tui.screens.main.idle import IdleController
from tui.screens.main.log_follow import FollowController
from tui.screens.main.snapshots import SnapshotController
from tui.screens.main.strip import StripController
from tui.state.history_view import HistoryView
from tui.state.overview import Overview
from tui.state.snapshot import LateDetails
from tui.state.snapshot_query import SnapshotRequest, query_snapshot


class FakeHistory:
    """A history of one document, whose handler failed at some offsets."""

    def __init__(self, name: str, *failed: int) -> None:
        self.name, self.failed = name, failed
        self.fold_record = SimpleNamespace(
            has_states_at=lambda _: True,
            call_count=0,
            projection_number=1,
            first_offset=0,
            next_offset=3,
        )

    def changes_by_event(self, first: int, last: int) -> dict[int, Any]:
        return {}

    def failures_at(self, position: int) -> list[Any]:
        assert position in self.failed, "only this history's failures are asked for"
        return [SimpleNamespace(key=None, error=self.name)]

    def document_at(self, key: str, position: int) -> None:
        return None

    def ordinal_of(self, key: str) -> int:
        return 0

    def next_change(self, key: str, position: int) -> None:
        return None

    def count_documents_at(self, position: int) -> int:
        return 1

    def view(self) -> HistoryView:
        offsets = pack_offsets()
        return HistoryView(self, frozenset(self.failed), offsets, offsets, False)  # type: ignore[arg-type]


def _desk(log: Callable[..., Workspace]) -> Desk:
    return Desk(log(*({"stream": "s", "type": f"T{n}", "data": {}} for n in range(5))))


def _snapshots(desk: Desk, settled: list[Any]) -> SnapshotController:
    return SnapshotController(
        desk.state,
        desk.runner,
        desk.scheduler,
        desk.notifier,
        on_settled=lambda: settled.append("settled"),
        on_late_details=settled.append,
    )


def test_only_the_last_position_of_a_burst_of_keys_is_shown(log: Callable[..., Workspace]) -> None:
    desk, settled = _desk(log), list[Any]()
    snapshots = _snapshots(desk, settled)
    for position in (1, 2, 3):
        desk.state.move_to(position)
    assert len(desk.scheduler.waiting) == 1
    desk.scheduler.run()
    assert desk.state.snapshot is not None
    assert desk.state.snapshot.position == 3
    assert snapshots.is_busy
    desk.scheduler.timers.pop()()
    assert settled == ["settled", LateDetails(3, None, None, None, 0)]
    assert not snapshots.is_busy


def test_a_snapshot_never_mixes_two_histories(log: Callable[..., Workspace]) -> None:
    desk = _desk(log)
    _snapshots(desk, [])
    desk.runner.is_held = True
    desk.state.show_history(FakeHistory("first", 2).view())
    desk.state.move_to(2)
    desk.scheduler.run()
    second = FakeHistory("second", 3).view()
    desk.state.show_history(second)
    desk.scheduler.run()
    desk.runner.finish()  # the query that began while the first history was shown
    assert desk.state.snapshot is not None
    assert [one.error for one in desk.state.snapshot.failures] == ["first"]
    desk.scheduler.run()
    desk.runner.finish()
    assert desk.state.snapshot.fold_record is second.fold_record
    assert desk.state.snapshot.failures == (), "the second history has no failure here"


def test_an_error_of_a_snapshot_is_shown(log: Callable[..., Workspace]) -> None:
    desk = _desk(log)
    _snapshots(desk, [])

    class Broken(FakeHistory):
        def changes_by_event(self, first: int, last: int) -> dict[int, Any]:
            raise QueryError("Broken.")

    desk.state.show_history(Broken("broken").view())
    desk.state.move_to(1)
    desk.scheduler.run()
    assert desk.notifier.errors == ["Broken."]


def test_the_strip_shows_the_overview_and_its_lanes(log: Callable[..., Workspace]) -> None:
    desk, shown = _desk(log), list[Overview]()
    strip = StripController(desk.state, desk.runner, SimpleNamespace(show_overview=shown.append))
    strip.resize(10)
    assert sum(shown[-1].density.counts) == 5
    desk.state.show_history(FakeHistory("h", 1, 4).view())
    assert len(shown[-1].failures) == 2
    assert desk.notifier.errors == []


def test_new_events_are_followed_at_the_end_only(log: Callable[..., Workspace]) -> None:
    desk = _desk(log)
    follow = FollowController(desk.state, desk.runner, desk.folds, lambda: False)
    desk.state.move_to(4)
    follow.poll()
    assert desk.state.data.extent.event_count == 5
    desk.state.data.workspace.release()
    log({"stream": "s", "type": "New", "data": {}})
    follow.poll()
    assert desk.state.position == 5
    assert desk.folds.calls == ["fold_new_events"]
    desk.state.move_to(1)
    desk.state.data.workspace.release()
    log({"stream": "s", "type": "Newer", "data": {}})
    follow.poll()
    assert desk.state.data.extent.event_count == 7
    assert desk.state.position == 1


def test_a_slow_poll_is_waited_for(log: Callable[..., Workspace]) -> None:
    desk = _desk(log)
    follow = FollowController(desk.state, desk.runner, desk.folds, lambda: False)
    desk.state.move_to(4)
    desk.state.data.workspace.release()
    log({"stream": "s", "type": "New", "data": {}})
    desk.runner.is_held = True
    follow.poll()
    follow.poll()
    assert len(desk.runner.held) == 1, "a second poll would cancel the first"
    desk.runner.finish()
    assert desk.state.position == 5


def test_an_idle_screen_ends_with_its_terminal(log: Callable[..., Workspace]) -> None:
    desk, ended = _desk(log), list[bool]()
    reader, writer = os.pipe()
    try:
        IdleController(desk.state, desk.runner, lambda: ended.append(True)).tick()
        assert ended == []
        controller = IdleController(desk.state, desk.runner, lambda: ended.append(True), reader)
        controller.tick()
        controller.tick()
        assert ended == [True], "a pipe is no terminal"
    finally:
        os.close(reader)
        os.close(writer)


def test_the_code_pane_says_why_it_shows_no_code(log: Callable[..., Workspace]) -> None:
    desk, shown = _desk(log), list[Any]()
    pane = SimpleNamespace(
        show_text=shown.append,
        show_listing=shown.append,
        mark_lines=lambda numbers, why: shown.append(numbers),
    )
    code = CodeController(desk.state, desk.runner, pane, Pane())
    desk.state.show_snapshot(query_snapshot(SnapshotRequest(desk.state.data, -1)))
    assert shown == [], "the pane is closed"
    code.toggle()
    assert shown == ["no event at the start", frozenset()]
    assert code.close()
    assert not code.close()


def test_the_debugger_gets_the_position_and_an_error_is_shown(
    log: Callable[..., Workspace],
) -> None:
    desk, asked = _desk(log), list[Any]()

    def debug(*place: Any) -> None:
        asked.append(place)
        raise QueryError("No code to run.")

    handler = HandlerCommandController(*desk.shared, desk.folds, debug)
    desk.state.move_to(3)
    handler.step_into()
    assert asked == [(desk.state.data, None, 3, None)]
    assert desk.notifier.errors == ["No code to run."]
    handler.export_reproduction()
    assert desk.notifier.errors[-1].startswith("No projection to reproduce.")


def test_escape_closes_one_thing_at_a_time() -> None:
    open_ = ["inner", "outer"]

    def closer(name: str) -> Callable[[], bool]:
        return lambda: name in open_ and (open_.remove(name) or True)

    escape = EscapeController([closer("inner"), closer("never"), closer("outer")])
    escape.go_back()
    assert open_ == ["outer"]
    escape.go_back()
    escape.go_back()
    assert open_ == []


def test_every_command_has_an_action() -> None:
    class Anything:
        def __getattr__(self, name: str) -> Any:
            return Anything()

        def __call__(self, *_: Any) -> None: ...

    anything: Any = Anything()
    table = command_table.build_command_table(anything, anything, anything)
    on_the_screen = {"pane.zoom", "help", "back"}
    expected = {command.id for command in COMMANDS if not command.action}
    assert set(table) | on_the_screen == expected
