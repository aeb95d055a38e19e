"""Forks, timelines, merges, comparisons, sweeps and calls, without an application."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from storage.timelines import fork_store
from storage.workspace.workspace import Workspace
from tests.tui.screens.main.collaborators import Desk, Pane
from tui.results.sweep_table import SweepSpec
from tui.screens.main.calls import CallController
from tui.screens.main.comparison import ComparisonController
from tui.screens.main.forks import ForkController
from tui.screens.main.merges import MergeController
from tui.screens.main.navigation import NavigationController
from tui.screens.main.results import ResultsController
from tui.screens.main.search import SearchController
from tui.screens.main.sweeps import SweepController
from tui.screens.main.timelines import TimelineController
from tui.state.count_prefix import CountPrefix
from tui.state.snapshot import LateDetails
from tui.state.snapshot_query import SnapshotRequest, query_snapshot


@dataclass
class WhatIf:
    desk: Desk
    timelines: TimelineController
    forks: ForkController
    merges: MergeController
    results: ResultsController
    calls: CallController


@pytest.fixture
def what_if(log: Callable[..., Workspace]) -> WhatIf:
    desk = Desk(log(*({"stream": "s", "type": f"T{n}", "data": {"n": n}} for n in range(5))))
    count = CountPrefix()
    navigation = NavigationController(*desk.shared, desk.document, count)
    search = SearchController(*desk.shared, desk.prompts, navigation, desk.events, count)
    results = ResultsController(
        *desk.shared, desk.prompts, navigation, search, Pane(), desk.document, desk.events
    )
    calls = CallController(*desk.shared, desk.prompts, desk.folds)
    merges = MergeController(*desk.shared, desk.prompts, results, desk.folds)
    timelines = TimelineController(*desk.shared, desk.prompts, desk.screens, merges.ask_name)
    forks = ForkController(
        desk.state, desk.notifier, desk.prompts, desk.screens, timelines, calls, search
    )
    return WhatIf(desk, timelines, forks, merges, results, calls)


def test_the_first_edit_asks_for_a_name_and_forks_the_log(what_if: WhatIf) -> None:
    desk, state = what_if.desk, what_if.desk.state
    state.move_to(2)
    what_if.forks.drop_event()
    assert desk.prompts.opened == [("fork", "what-if-1")]
    state.move_to(4)
    desk.prompts.enter("fork", "mine")
    assert state.data.fork is not None
    assert state.data.fork.timeline == "mine"
    rows = state.data.timeline.event_rows(0, 5)
    assert [row.position for row in rows if row.mark is not None] == [2], "not where it was named"
    assert state.position == 4, "the same event is shown"


def test_edits_of_a_fork_ask_for_nothing_and_can_be_undone(what_if: WhatIf) -> None:
    desk, state = what_if.desk, what_if.desk.state
    state.move_to(1)
    what_if.forks.ask_name()
    desk.prompts.enter("fork", "mine")
    desk.prompts.enter("set", "n = 7")
    assert state.data.fork is not None
    assert len(state.data.fork.fork.active_edits) == 1
    what_if.forks.undo()
    assert state.data.fork.fork.active_edits == []
    what_if.forks.undo()
    assert desk.notifier.messages == ["Nothing to undo."]


def test_a_wrong_edit_opens_its_prompt_again(what_if: WhatIf) -> None:
    desk = what_if.desk
    what_if.forks.drop_event()
    assert desk.notifier.errors == [
        "There is no event to edit at the start. Press ] for the first event."
    ]
    desk.prompts.enter("set", "n")
    assert desk.prompts.opened == [("set", "n")]
    assert "is no assignment" in desk.notifier.errors[-1]


def test_an_event_is_edited_as_json(what_if: WhatIf) -> None:
    desk, state = what_if.desk, what_if.desk.state
    state.move_to(1)
    state.show_snapshot(query_snapshot(SnapshotRequest(state.data, 1)))
    what_if.forks.replace_event()
    [(editor, save)] = desk.screens.opened
    assert type(editor).__name__ == "EditorScreen"
    assert save is not None
    save(None)
    assert desk.prompts.opened == [], "cancelled"
    save('{"type": "Other", "stream": "s", "data": {}}')
    desk.prompts.enter("fork", "edited")
    [row] = state.data.timeline.event_rows_at([1])
    assert row.row is not None
    assert row.row.type == "Other"


def test_a_timeline_is_opened_and_removed_by_name(what_if: WhatIf) -> None:
    desk, state = what_if.desk, what_if.desk.state
    state.move_to(1)
    what_if.forks.ask_name()
    desk.prompts.enter("fork", "mine")
    what_if.timelines.remove("mine")
    assert desk.notifier.errors == ["This timeline is open. Open another one first."]
    what_if.timelines.list()
    _, choose = desk.screens.opened[-1]
    assert choose is not None
    choose(("open", "main"))
    assert state.data.fork is None
    choose(("remove", "main"))
    assert desk.notifier.errors[-1] == "The log itself can't be removed."
    choose(("remove", "mine"))
    assert fork_store.list_forks(state.data.workspace) == []
    assert state.data.fork_names == set()
    choose(("join", "other"))
    assert desk.prompts.opened[-1] == ("join", "main-other")


def test_a_merge_needs_code(what_if: WhatIf) -> None:
    what_if.merges.ask_name("other")
    what_if.desk.prompts.enter("join", "both")
    assert what_if.desk.notifier.errors == [
        "No code to run. Open the workspace with its projection: -p FILE."
    ]
    assert what_if.merges.conflict is None
    what_if.merges.ask_resolution()
    assert what_if.desk.prompts.opened == [("join", "main-other")]


def test_the_banner_describes_the_fork(what_if: WhatIf) -> None:
    desk, banners, compared = what_if.desk, list[str](), list[Any]()
    pane = type("ComparedPane", (), {"show_document": lambda self, found: compared.append(found)})()
    comparison = ComparisonController(
        desk.state,
        desk.runner,
        what_if.results,
        desk.folds,
        pane,
        banners.append,
        lambda: None,
    )
    what_if.forks.ask_name()
    desk.prompts.enter("fork", "mine")
    assert banners[-1].startswith("mine, forked from main at")
    comparison.compare_with_parent()
    assert comparison.parent_comparison is None, "nothing is folded"
    assert not comparison.has_differences

    class Sides:
        names, differing_documents, end_offset = ("a", "b"), 1, 3

        def differences(self, key: str, position: int) -> list[Any]:
            return [key, position]

    desk.folds.edit = Sides()
    for position in (2, 3):
        comparison.show_document(LateDetails(position, "k", None, None, 1))
    assert compared[0].differences == ["k", 2]
    assert compared[1].note == "not folded up to this event yet"


def test_a_sweep_needs_a_folded_projection(what_if: WhatIf) -> None:
    desk = what_if.desk
    sweeps = SweepController(*desk.shared, desk.screens, what_if.timelines, desk.folds)
    sweeps.open()
    form, run = desk.screens.opened[-1]
    assert type(form).__name__ == "SweepForm"
    assert run is not None
    run(None)
    assert desk.notifier.errors == []
    run(SweepSpec("", "n", "1, 2", "count(*)"))
    assert desk.notifier.errors[0].startswith("A sweep needs a folded projection.")


def test_calls_that_are_all_linked_are_not_asked_for(what_if: WhatIf) -> None:
    desk = what_if.desk
    what_if.calls.open_assign_prompt()
    assert desk.notifier.errors == ["No call is without an event: all recorded calls are linked."]
    assert what_if.calls.missed is None
    assert not what_if.calls.open_answer_prompt()
    desk.prompts.enter("assign", "nonsense")
    assert len(desk.notifier.errors) == 2
    assert desk.folds.calls == [], "nothing was linked, so nothing is folded again"
