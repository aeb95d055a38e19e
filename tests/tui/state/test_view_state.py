"""The view state: what is shown is held once, and observers hear of each change."""

from collections.abc import Callable

from storage.coordinates.offset_set import pack_offsets
from storage.log.positions import START
from storage.workspace.workspace import Workspace
from tui.state.history_view import HistoryView
from tui.state.timeline_view import query_timeline
from tui.state.view_state import LowerPane, ViewChange, ViewState


class _History:
    """A history that is never queried."""

    fold_record = None

    def changes_by_event(self, first: int, last: int) -> dict[int, object]:
        raise AssertionError


def _history(*failed: int) -> HistoryView:
    return HistoryView(_History(), frozenset(failed), pack_offsets(), pack_offsets(), False)  # type: ignore[arg-type]


def _state(log: Callable[..., Workspace]) -> ViewState:
    return ViewState(query_timeline(log(*({"stream": "s", "type": "T"} for _ in range(3)))))


def test_a_position_stays_inside_the_log(log: Callable[..., Workspace]) -> None:
    state = _state(log)
    state.move_to(99)
    assert state.position == 2
    state.move_to(-99)
    assert state.position == START


def test_observers_hear_of_their_kind_of_change_only(log: Callable[..., Workspace]) -> None:
    state, heard = _state(log), list[str]()
    state.observe(lambda: heard.append(f"at {state.position}"), ViewChange.POSITION)
    state.observe(lambda: heard.append("panes"), ViewChange.PANE)
    state.move_to(1)
    state.select_document("a")
    state.show_lower_pane(LowerPane.PLOT)
    assert heard == ["at 1", "panes"]


def test_history_and_failures_are_swapped_together(log: Callable[..., Workspace]) -> None:
    state = _state(log)
    first, second = _history(1), _history(2)
    state.show_history(first)
    taken = state.data
    state.show_history(second)
    assert taken.history_view is not None
    assert taken.history is first.history
    assert taken.history_view.failed_offsets == {1}
    assert state.data.history_view is second


def test_another_timeline_has_no_history_and_no_base(log: Callable[..., Workspace]) -> None:
    state = _state(log)
    state.show_history(_history())
    state.set_base(1)
    state.show_timeline(query_timeline(state.data.workspace), 99)
    assert state.data.history is None
    assert state.view.base is None
    assert state.position == 2
    assert not state.clear_base()


def test_a_pinned_document_is_unpinned_once(log: Callable[..., Workspace]) -> None:
    state = _state(log)
    state.select_document("a")
    assert state.view.is_pinned
    state.select_document("b", pin=False)
    assert state.view.is_pinned, "another document of a pinned view stays pinned"
    assert state.unpin()
    assert not state.unpin()
    assert state.key == "b"
