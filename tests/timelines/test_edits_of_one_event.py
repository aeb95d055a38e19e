"""Several edits of one event in one step: they hold together, or are refused."""

import json
from typing import Any

import pytest

from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from storage.errors import QueryError
from storage.log.event_log import EventLog
from tests.support.fork_bench import Bench
from tui.cli import run_command
from tui.state import fork_edits


def data(workspace: Any, place: int) -> Any:
    found = EventLog(workspace).read_event(place)
    return None if found is None else json.loads(found.data or "null")


def test_values_set_in_one_event_are_all_kept(bench: Bench, capsys: Any) -> None:
    bench.workspace.release()
    made = ["--set", "0", "email", '"x"', "--set", "0", "n", "9", "--json"]
    assert run_command(["fork", str(bench.workspace.path), "f", *made]) == 0
    assert json.loads(capsys.readouterr().out)["edits"] == 2
    assert run_command(["edit", str(bench.workspace.path), "f", *made[4:]]) == 0
    assert json.loads(capsys.readouterr().out)["edits"] == 3
    assert run_command(["events", str(bench.workspace.path), "--timeline", "f", "--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["data"] == {"by": 0, "email": "x", "n": 9}


@pytest.mark.parametrize(
    "wish",
    [
        lambda made: [made.replace(3, '{"data": {"a": 1}}'), made.set(3, "b", "2")],
        lambda made: [made.set(3, "a", "1"), made.set(3, "b", "2"), made.set(3, "type", "Other")],
    ],
)
def test_a_later_edit_starts_from_what_the_earlier_ones_left(bench: Bench, wish: Any) -> None:
    found = data(bench.fork("f", wish), 3)
    assert (found["a"], found["b"]) == (1, 2)


def test_a_moved_event_has_the_values_that_were_set(bench: Bench) -> None:
    fork = bench.fork("f", lambda made: [made.set(3, "by", "70"), made.move(3, 9)])
    places = [row.offset for row in EventLog(fork).read_events(0, 40) if row.id == "e3"]
    assert [data(fork, place) for place in places] == [{"by": 70}]


def test_events_that_are_dropped_twice_count_once(bench: Bench) -> None:
    fork = bench.fork("f", lambda made: [made.drop(3), made.drop_all([2, 3]), made.drop(2)])
    assert len(fork.fork.active_edits) == 2


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (lambda made: [made.set(3, "by", "1"), made.set(3, "by", "2")], "set twice at data.by"),
        (lambda made: [made.set(3, "a.b", "1"), made.set(3, "a", "{}")], "set twice at data.a.b"),
        (lambda made: [made.drop(3), made.set(3, "by", "2")], "both dropped and edited"),
        (lambda made: [made.set(3, "by", "2"), made.drop(3)], "both dropped and edited"),
        (lambda made: [made.drop(3), made.move(3, 9)], "both dropped and edited"),
        (lambda made: [made.drop(3), made.reverse(3)], "both dropped and edited"),
        (lambda made: [made.move(3, 9), made.set(3, "by", "2")], "edited after it was moved"),
        (lambda made: [made.replace(3, "{}"), made.replace(3, "{}")], "replaced twice"),
        (lambda made: [made.set(3, "by", "1"), made.replace(3, "{}")], "replaced after"),
    ],
)
def test_edits_that_would_undo_each_other_are_refused(bench: Bench, wish: Any, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        wish(EditBuilder(bench.workspace, "f"))


def test_the_screen_sets_one_value_after_another(bench: Bench) -> None:
    shown = bench.fork("f", lambda made: made.set(3, "a", "1"))
    made = fork_edits.make(shown, None, lambda step, at: step.set(at, "b", "2"), 3)
    assert data(made, 3) == {"by": 3, "a": 1, "b": 2}
    undone = edit_builder.undo_last_step(made)
    assert undone is not None
    assert data(undone, 3) == {"by": 3, "a": 1}
