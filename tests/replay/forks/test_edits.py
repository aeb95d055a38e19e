"""Edits of a fork: what a person may ask for, what it is called, and what is refused."""

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
from replay.forks.edit_builder import Editing
from replay.history.history import History
from replay.projection import reference
from storage.errors import PositionError, QueryError, WorkspaceError
from storage.log import positions
from storage.log.event_log import EventLog
from storage.timelines import store
from storage.timelines import workspace_view as seeing
from storage.timelines.workspace_view import Seen
from storage.workspace import workspace as workspaces
from storage.workspace.workspace import Workspace

PROJECTION = """
def on_Added(state, event): state["total"] = state.get("total", 0) + event.data["by"]
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    with workspaces.created(tmp_path / "log.refold") as connection:
        for n in range(12):
            connection.execute(
                'INSERT INTO events ("offset", time, stream, revision, type, id, data) VALUES'
                " (?, TIMESTAMPTZ '2026-01-01' + INTERVAL (?) MINUTE, ?, ?, 'Added', ?, ?)",
                [n, n, "abc"[n % 3], n // 3, f"e{n}", json.dumps({"by": n, "price": "0.10"})],
            )
    return Workspace(tmp_path / "log.refold")


def forked(workspace: Workspace, name: str, wish: Any) -> Seen:
    made = Editing(workspace, name)
    wish(made)
    return edit_builder.keep(edit_builder.fork(workspace, name, made.edits))


def events(workspace: Workspace) -> list[tuple[str, str | None, str | None]]:
    extent = EventLog(workspace).extent()
    return [
        (str(workspace.label(row.offset)), row.stream, row.id)
        for row in EventLog(workspace).rows(0, extent.events)
    ]


def names(workspace: Workspace) -> list[str]:
    return [name for name, _, _ in events(workspace)]


def new(stream: str = "a", **fields: Any) -> str:
    return json.dumps({"type": "Added", "stream": stream, "data": {"by": 100}, **fields})


def test_a_drop_leaves_a_gap_and_the_log_is_as_it_was(workspace: Workspace):
    before = events(workspace)
    fork = forked(workspace, "f", lambda made: made.drop(4))
    assert names(fork) == [str(n) for n in range(12) if n != 4]
    assert events(workspace) == before
    assert fork.fork.at.shown == 3
    with pytest.raises(PositionError, match="no event at 4 on f"):
        Editing(fork, "g").drop(4)


def test_what_is_inserted_is_named_after_what_it_follows(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: [made.insert(4, new()), made.insert(4, new("b"))])
    assert names(fork)[4:8] == ["4", "4+1", "4+2", "5"]
    again = forked(fork, "g", lambda made: made.insert(fork.place(fork.label(5)), new("c")))
    assert names(again)[4:8] == ["4", "4+1", "4+3", "4+2"]
    start = forked(again, "h", lambda made: made.insert(-1, new()))
    assert names(start)[:2] == ["start+1", "0"]
    assert [start.place(start.label(place)) for place in range(16)] == list(range(16))


@pytest.mark.parametrize(
    ("written", "named"),
    [
        *[("4", "4"), ("4+1", "4+1"), ("5", "5"), ("end", "11"), ("-1", "11"), ("start", "start")],
        *[("100%", "11"), ("c@3", "11"), ("id:e5", "5"), ("2026-01-01T00:05:30Z", "5")],
    ],
)
def test_positions_on_a_fork_are_those_of_the_log(workspace: Workspace, written, named):
    fork = forked(workspace, "f", lambda made: made.insert(4, new()))
    assert str(fork.label(positions.resolve(fork, written))) == named


@pytest.mark.parametrize("written", ["4+2", "12", "4+", "+1", "99+1", "start+1"])
def test_positions_that_a_fork_does_not_have_are_refused(workspace: Workspace, written):
    fork = forked(workspace, "f", lambda made: made.insert(4, new()))
    with pytest.raises(PositionError):
        positions.resolve(fork, written)


def test_a_new_event_gets_the_time_before_it_and_an_id_of_its_own(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.insert(4, new()))
    event = EventLog(fork).event(5)
    before = EventLog(fork).event(4)
    assert event is not None
    assert before is not None
    assert event.time == before.time
    assert event.id
    assert event.id not in {row.id for row in EventLog(workspace).rows(0, 12)}


def test_what_a_replacement_leaves_out_stays_with_all_digits(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.replace(4, '{"type": "Other"}'))
    event = EventLog(fork).event(4)
    assert event is not None
    assert (event.type, event.id, event.stream) == ("Other", "e4", "b")
    assert event.data == '{"by": 4, "price": "0.10"}'


def test_one_value_can_be_set(workspace: Workspace):
    def wish(made: Editing) -> None:
        made.set(4, "by", "1.50")
        made.set(5, "data.deep.er", "text")
        made.set(6, "type", "Other")

    fork = forked(workspace, "f", wish)
    four, five, six = (EventLog(fork).event(n) for n in (4, 5, 6))
    assert four is not None
    assert four.data == '{"by":1.50,"price":"0.10"}'
    assert five is not None
    assert json.loads(five.data or "")["deep"] == {"er": "text"}
    assert six is not None
    assert six.type == "Other"


def test_a_reversal_takes_numbers_back(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.reverse(4))
    event = EventLog(fork).event(12)
    assert event is not None
    assert json.loads(event.data or "") == {"by": -4, "price": "0.10"}
    assert event.causation_id == "e4"
    with pytest.raises(QueryError, match="no number at price"):
        Editing(workspace, "g").reverse(4, ["price"])


def test_ranges_and_all_that_match_are_edited_at_once(workspace: Workspace):
    def wish(made: Editing) -> None:
        made.drop_all(made.between(0, 2))
        made.drop_all(made.matching("stream = 'c' AND offset > 5"))

    fork = forked(workspace, "f", wish)
    assert names(fork) == ["3", "4", "5", "6", "7", "9", "10"]
    with pytest.raises(QueryError, match="nothing to edit"):
        Editing(workspace, "g").matching("stream = 'z'")


def test_steps_are_undone_and_done_again(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.drop(4))
    made = Editing(fork, "f")
    made.insert(6, new())
    made.drop(7)
    fork = edit_builder.keep(edit_builder.edited(fork, made.edits))
    whole = names(fork)
    back = edit_builder.undone(fork)
    assert back is not None
    assert names(edit_builder.keep(back)) == [str(n) for n in range(12) if n != 4]
    all_back = edit_builder.undone(back)
    assert all_back is not None
    assert names(all_back) == [str(n) for n in range(12)]
    assert edit_builder.undone(all_back) is None
    on = edit_builder.redone(seeing.on(workspace, "f"))  # type: ignore[arg-type]
    assert on is not None
    assert names(on) == whole
    assert edit_builder.redone(on) is None


def test_an_edit_after_an_undo_forgets_what_was_undone(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.drop(4))
    back = edit_builder.undone(fork)
    assert back is not None
    made = Editing(back, "f")
    made.drop(5)
    fork = edit_builder.edited(back, made.edits)
    assert names(fork) == [str(n) for n in range(12) if n != 5]
    assert edit_builder.redone(fork) is None


def test_a_fork_with_forks_stays_as_it_is(workspace: Workspace):
    fork = forked(workspace, "f", lambda made: made.drop(4))
    forked(fork, "g", lambda made: made.drop(5))
    made = Editing(fork, "f")
    made.drop(6)
    with pytest.raises(WorkspaceError, match="g is forked from f"):
        edit_builder.edited(fork, made.edits)
    with pytest.raises(WorkspaceError, match="remove it first"):
        store.remove(workspace, "f")
    store.rename(workspace, "f", "first")
    assert [(t.name, t.parent) for t in store.known(workspace)] == [
        ("first", "main"),
        ("g", "first"),
    ]
    assert names(seeing.on(workspace, "g")) == [str(n) for n in range(12) if n not in (4, 5)]
    store.remove(workspace, "g")
    store.remove(workspace, "first")
    assert store.known(workspace) == []


@pytest.mark.parametrize("name", ["main", "", "a b", "../x", "x" * 65, "a/b", "-x"])
def test_names_that_no_fork_can_have(workspace: Workspace, name):
    with pytest.raises(WorkspaceError):
        edit_builder.fork(workspace, name, [])


DEEP = '{"type": "A", "data": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    "text",
    [
        *["", "[]", "1", "{", '{"type": 5}', '{"type": "A", "time": "soon"}', '{"type": ""}'],
        *['{"type": "A", "revision": "x"}', '{"type": "A", "strange": 1}', '{"type": "\\ud800"}'],
        *['{"type": "A", "data": NaN}', '{"type": "A", "data": {"a": 1', '{"type": "A"}', DEEP],
    ],
)
def test_what_is_no_event_is_refused_in_a_sentence(workspace: Workspace, text):
    with pytest.raises(QueryError) as refused:
        Editing(workspace, "f").insert(4, text)
    assert refused.value.message.endswith(".")
    assert "\n" not in refused.value.message


def test_a_fork_earlier_than_its_edits_is_refused(workspace: Workspace):
    made = Editing(workspace, "f")
    made.drop(4)
    with pytest.raises(PositionError, match="lies before the fork at 7"):
        edit_builder.fork(workspace, "f", made.edits, at=7)


def test_new_events_of_the_log_are_the_forks_too(workspace: Workspace, tmp_path: Path):
    (tmp_path / "p.py").write_text(PROJECTION)
    wanted = reference.parse("p.py", sys.executable, tmp_path)
    fork = forked(workspace, "f", lambda made: [made.drop(0), made.append(new("a"))])
    history = History(fork, fold.fold(fork, wanted))
    state = history.state("a", 12)
    assert state is not None
    assert json.loads(state.state or "")["total"] == 3 + 6 + 9 + 100
    with workspace.writing() as connection:
        connection.execute(
            "INSERT INTO events (\"offset\", stream, type, id, data) VALUES (12, 'a', 'Added', 'e12',"
            " '{\"by\": 1000}')"
        )
    fork = seeing.on(workspace, "f")  # type: ignore[assignment]
    assert names(fork)[-3:] == ["11", "11+1", "12"]
    history = History(fork, fold.fold(fork, wanted))
    state = history.state("a", 13)
    assert state is not None
    assert json.loads(state.state or "")["total"] == 3 + 6 + 9 + 100 + 1000


def _fold(path: str, folder: str) -> None:
    wanted = reference.parse("p.py", sys.executable, Path(folder))
    fork = seeing.on(Workspace(Path(path)), "f")
    fold.fold(fork, wanted, force=True)


def test_a_killed_fold_of_a_fork_leaves_it_as_it_was(workspace: Workspace, tmp_path: Path):
    (tmp_path / "p.py").write_text(PROJECTION)
    wanted = reference.parse("p.py", sys.executable, tmp_path)
    fork = forked(workspace, "f", lambda made: made.drop(3))
    before = History(fork, fold.fold(fork, wanted)).state("a", 11)
    assert before is not None
    workspace.close()
    context = multiprocessing.get_context("spawn")
    for delay in (0.3, 0.5, 0.7, 0.9):
        process = context.Process(target=_fold, args=(str(workspace.path), str(tmp_path)))
        process.start()
        time.sleep(delay)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        again = seeing.on(Workspace(workspace.path), "f")
        assert names(again) == names(fork)
        state = History(again, fold.fold(again, wanted)).state("a", 11)
        assert state is not None
        assert state.state == before.state
        again.close()
