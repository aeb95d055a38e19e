"""Edits of a fork: their effects, the labels of edited events, and refused edits."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from replay import fold
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.history.history import History
from replay.projection import projection_reference
from storage.errors import PositionError, QueryError, WorkspaceError
from storage.log import positions
from storage.log.event_log import EventLog
from storage.timelines import fork_store, forked_workspace
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace import new_workspace
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile

PROJECTION = """
def on_Added(state, event): state["total"] = state.get("total", 0) + event.data["by"]
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with new_workspace.create_workspace(tmp_path / "log.refold") as connection:
        for n in range(12):
            connection.execute(
                'INSERT INTO events ("offset", time, stream, revision, type, id, data) VALUES'
                " (?, TIMESTAMPTZ '2026-01-01' + INTERVAL (?) MINUTE, ?, ?, 'Added', ?, ?)",
                [n, n, "abc"[n % 3], n // 3, f"e{n}", json.dumps({"by": n, "price": "0.10"})],
            )
    return WorkspaceFile(tmp_path / "log.refold")


def forked(workspace: Workspace, name: str, wish: Any) -> ForkedWorkspace:
    made = EditBuilder(workspace, name)
    wish(made)
    return edit_builder.save_fork(edit_builder.create_fork(workspace, name, made.edits))


def events(workspace: Workspace) -> list[tuple[str, str | None, str | None]]:
    extent = EventLog(workspace).read_extent()
    return [
        (str(workspace.label_at(row.offset)), row.stream, row.id)
        for row in EventLog(workspace).read_events(0, extent.event_count)
    ]


def names(workspace: Workspace) -> list[str]:
    return [name for name, _, _ in events(workspace)]


def new(stream: str = "a", **fields: Any) -> str:
    return json.dumps({"type": "Added", "stream": stream, "data": {"by": 100}, **fields})


def test_a_drop_leaves_a_gap_and_does_not_change_the_log(workspace: Workspace):
    before = events(workspace)
    fork = forked(workspace, "f", lambda made: made.drop(4))
    assert names(fork) == [str(n) for n in range(12) if n != 4]
    assert events(workspace) == before
    assert fork.fork.at.json_value == 3
    with pytest.raises(PositionError, match="no event to edit at 4 on f"):
        EditBuilder(fork, "g").drop(4)


def test_an_inserted_event_is_labelled_after_its_predecessor(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: [made.insert(4, new()), made.insert(4, new("b"))])
    assert names(fork)[4:8] == ["4", "4+1", "4+2", "5"]
    again = forked(
        fork, "g", lambda made: made.insert(fork.position_of(fork.label_at(5)), new("c"))
    )
    assert names(again)[4:8] == ["4", "4+1", "4+3", "4+2"]
    start = forked(again, "h", lambda made: made.insert(-1, new()))
    assert names(start)[:2] == ["start+1", "0"]
    assert [start.position_of(start.label_at(place)) for place in range(16)] == list(range(16))


@pytest.mark.parametrize(
    ("written", "named"),
    [
        *[("4", "4"), ("4+1", "4+1"), ("5", "5"), ("end", "11"), ("-1", "11"), ("start", "start")],
        *[("100%", "11"), ("c@3", "11"), ("id:e5", "5"), ("2026-01-01T00:05:30Z", "5")],
    ],
)
def test_positions_on_a_fork_are_those_of_the_log(workspace: Workspace, written, named):
    fork = forked(workspace, "f", lambda made: made.insert(4, new()))
    assert str(fork.label_at(positions.resolve_position(fork, written))) == named


@pytest.mark.parametrize("written", ["4+2", "12", "4+", "+1", "99+1", "start+1"])
def test_positions_that_a_fork_does_not_have_are_refused(workspace: Workspace, written):
    fork = forked(workspace, "f", lambda made: made.insert(4, new()))
    with pytest.raises(PositionError):
        positions.resolve_position(fork, written)


def test_a_new_event_gets_its_predecessors_time_and_a_derived_id(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.insert(4, new()))
    event = EventLog(fork).read_event(5)
    before = EventLog(fork).read_event(4)
    assert event is not None
    assert before is not None
    assert event.time == before.time
    assert event.id
    assert event.id not in {row.id for row in EventLog(workspace).read_events(0, 12)}


def test_fields_missing_in_a_replacement_stay_with_all_digits(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.replace(4, '{"type": "Other"}'))
    event = EventLog(fork).read_event(4)
    assert event is not None
    assert (event.type, event.id, event.stream) == ("Other", "e4", "b")
    assert event.data == '{"by": 4, "price": "0.10"}'


def test_one_value_can_be_set(workspace: Workspace):
    def wish(made: EditBuilder) -> None:
        made.set(4, "by", "1.50")
        made.set(5, "data.deep.er", "text")
        made.set(6, "type", "Other")

    fork = forked(workspace, "f", wish)
    four, five, six = (EventLog(fork).read_event(n) for n in (4, 5, 6))
    assert four is not None
    assert four.data == '{"by":1.50,"price":"0.10"}'
    assert five is not None
    assert json.loads(five.data or "")["deep"] == {"er": "text"}
    assert six is not None
    assert six.type == "Other"


def test_a_reversal_negates_numbers(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.reverse(4))
    event = EventLog(fork).read_event(12)
    assert event is not None
    assert json.loads(event.data or "") == {"by": -4, "price": "0.10"}
    assert event.causation_id == "e4"
    with pytest.raises(QueryError, match="no number to negate at price"):
        EditBuilder(workspace, "g").reverse(4, ["price"])


def test_ranges_and_matching_events_are_edited_in_one_step(workspace: Workspace):
    def wish(made: EditBuilder) -> None:
        made.drop_all(made.find_positions_between(0, 2))
        made.drop_all(made.find_matching_positions("stream = 'c' AND offset > 5"))

    fork = forked(workspace, "f", wish)
    assert names(fork) == ["3", "4", "5", "6", "7", "9", "10"]
    with pytest.raises(QueryError, match="nothing to edit"):
        EditBuilder(workspace, "g").find_matching_positions("stream = 'z'")


def test_steps_are_undone_and_redone(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.drop(4))
    made = EditBuilder(fork, "f")
    made.insert(6, new())
    made.drop(7)
    fork = edit_builder.save_fork(edit_builder.append_edits(fork, made.edits))
    whole = names(fork)
    back = edit_builder.undo_last_step(fork)
    assert back is not None
    assert names(edit_builder.save_fork(back)) == [str(n) for n in range(12) if n != 4]
    all_back = edit_builder.undo_last_step(back)
    assert all_back is not None
    assert names(all_back) == [str(n) for n in range(12)]
    assert edit_builder.undo_last_step(all_back) is None
    on = edit_builder.redo_last_step(forked_workspace.open_timeline(workspace, "f"))  # type: ignore[arg-type]
    assert on is not None
    assert names(on) == whole
    assert edit_builder.redo_last_step(on) is None


def test_an_edit_after_an_undo_discards_the_undone_steps(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.drop(4))
    back = edit_builder.undo_last_step(fork)
    assert back is not None
    made = EditBuilder(back, "f")
    made.drop(5)
    fork = edit_builder.append_edits(back, made.edits)
    assert names(fork) == [str(n) for n in range(12) if n != 5]
    assert edit_builder.redo_last_step(fork) is None


def test_a_fork_with_child_forks_cannot_be_edited(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.drop(4))
    forked(fork, "g", lambda made: made.drop(5))
    made = EditBuilder(fork, "f")
    made.drop(6)
    with pytest.raises(WorkspaceError, match="g is forked from it"):
        edit_builder.append_edits(fork, made.edits)
    with pytest.raises(WorkspaceError, match="remove g first"):
        fork_store.remove_fork(workspace, "f")
    fork_store.rename_fork(workspace, "f", "first")
    assert [(t.name, t.parent) for t in fork_store.list_forks(workspace)] == [
        ("first", "main"),
        ("g", "first"),
    ]
    assert names(forked_workspace.open_timeline(workspace, "g")) == [
        str(n) for n in range(12) if n not in (4, 5)
    ]
    fork_store.remove_fork(workspace, "g")
    fork_store.remove_fork(workspace, "first")
    assert fork_store.list_forks(workspace) == []


@pytest.mark.parametrize("name", ["main", "", "a b", "../x", "x" * 65, "a/b", "-x"])
def test_invalid_fork_names_are_refused(workspace: Workspace, name):
    with pytest.raises(WorkspaceError):
        edit_builder.create_fork(workspace, name, [])


DEEP = '{"type": "A", "data": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    "text",
    [
        *["", "[]", "1", "{", '{"type": 5}', '{"type": "A", "time": "soon"}', '{"type": ""}'],
        *['{"type": "A", "revision": "x"}', '{"type": "A", "strange": 1}', '{"type": "\\ud800"}'],
        *['{"type": "A", "data": NaN}', '{"type": "A", "data": {"a": 1', '{"type": "A"}', DEEP],
    ],
)
def test_an_invalid_event_is_refused_with_one_sentence(workspace: Workspace, text):
    with pytest.raises(QueryError) as refused:
        EditBuilder(workspace, "f").insert(4, text)
    assert refused.value.message.endswith(".")
    assert "\n" not in refused.value.message


def test_a_fork_earlier_than_its_edits_is_refused(workspace: Workspace):
    made = EditBuilder(workspace, "f")
    made.drop(4)
    with pytest.raises(PositionError, match="lies before the fork at 7"):
        edit_builder.create_fork(workspace, "f", made.edits, fork_position=7)


def test_events_appended_to_the_log_appear_on_forks(workspace: Workspace, tmp_path: Path):
    (tmp_path / "p.py").write_text(PROJECTION)
    wanted = projection_reference.parse_reference("p.py", sys.executable, tmp_path)
    fork = forked(workspace, "f", lambda made: [made.drop(0), made.append(new("a"))])
    history = History(fork, fold.fold_projection(fork, wanted))
    state = history.state_at("a", 12)
    assert state is not None
    assert json.loads(state.state or "")["total"] == 3 + 6 + 9 + 100
    with workspace.writing() as connection:
        connection.execute(
            "INSERT INTO events (\"offset\", stream, type, id, data) VALUES (12, 'a', 'Added', 'e12',"
            " '{\"by\": 1000}')"
        )
    fork = forked_workspace.open_timeline(workspace, "f")  # type: ignore[assignment]
    assert names(fork)[-3:] == ["11", "11+1", "12"]
    history = History(fork, fold.fold_projection(fork, wanted))
    state = history.state_at("a", 13)
    assert state is not None
    assert json.loads(state.state or "")["total"] == 3 + 6 + 9 + 100 + 1000


def _fold(path: str, folder: str) -> None:
    wanted = projection_reference.parse_reference("p.py", sys.executable, Path(folder))
    fork = forked_workspace.open_timeline(WorkspaceFile(Path(path)), "f")
    fold.fold_projection(fork, wanted, force=True)


def test_a_killed_fold_of_a_fork_leaves_the_fork_unchanged(workspace: Workspace, tmp_path: Path):
    (tmp_path / "p.py").write_text(PROJECTION)
    wanted = projection_reference.parse_reference("p.py", sys.executable, tmp_path)
    fork = forked(workspace, "f", lambda made: made.drop(3))
    before = History(fork, fold.fold_projection(fork, wanted)).state_at("a", 11)
    assert before is not None
    workspace.close()
    context = multiprocessing.get_context("spawn")
    for delay in (0.3, 0.5, 0.7, 0.9):
        process = context.Process(target=_fold, args=(str(workspace.path), str(tmp_path)))
        process.start()
        time.sleep(delay)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        again = forked_workspace.open_timeline(WorkspaceFile(workspace.path), "f")
        assert names(again) == names(fork)
        state = History(again, fold.fold_projection(again, wanted)).state_at("a", 11)
        assert state is not None
        assert state.state == before.state
        again.close()
