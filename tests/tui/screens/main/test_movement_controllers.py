"""Moving, playing and searching, without an application."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from storage.log.positions import START
from storage.workspace.workspace import Workspace
from tests.tui.screens.main.collaborators import Desk
from tui.screens.main.navigation import NavigationController
from tui.screens.main.playback import PlaybackController
from tui.screens.main.ports import PromptInput
from tui.screens.main.prompts import PromptController
from tui.screens.main.search import SearchController
from tui.state.count_prefix import CountPrefix
from tui.state.timeline_view import query_timeline


@dataclass
class Movement:
    desk: Desk
    count: CountPrefix
    navigation: NavigationController
    search: SearchController


@pytest.fixture
def movement(log: Callable[..., Workspace]) -> Movement:
    workspace = log(
        *(
            {"stream": f"s{n % 2}", "type": "Paid" if n % 3 else "Sent", "data": {}}
            for n in range(10)
        )
    )
    desk, count = Desk(workspace), CountPrefix()
    navigation = NavigationController(*desk.shared, desk.document, count)
    search = SearchController(*desk.shared, desk.prompts, navigation, desk.events, count)
    return Movement(desk, count, navigation, search)


def test_steps_end_at_the_ends_of_the_log(movement: Movement) -> None:
    state, navigation = movement.desk.state, movement.navigation
    navigation.step(1)
    assert state.position == 0
    navigation.go_to_end()
    navigation.step(1)
    assert state.position == 9
    navigation.go_to_start()
    navigation.step(-1)
    assert state.position == START
    navigation.go_to_share(50)
    assert state.position == 4


def test_a_count_repeats_a_step_and_is_a_jump(movement: Movement) -> None:
    state, navigation, count = movement.desk.state, movement.navigation, movement.count
    state.move_to(2)
    for character in ("4", "]"):
        count.accepts(character)
    navigation.step(1)
    assert state.position == 6
    navigation.step(1)
    navigation.jump_back()
    assert state.position == 2, "a single step is no jump"
    navigation.jump_forward()
    assert state.position == 7


def test_another_timeline_has_no_jumps_of_the_one_before(movement: Movement) -> None:
    state, navigation = movement.desk.state, movement.navigation
    navigation.go(5)
    state.show_timeline(query_timeline(state.data.workspace), 3)
    navigation.jump_back()
    assert state.position == 3


def test_the_next_event_of_the_stream(movement: Movement) -> None:
    state, navigation = movement.desk.state, movement.navigation
    state.move_to(3)
    navigation.go_in_stream(1)
    assert state.position == 5
    state.move_to(9)
    navigation.go_in_stream(1)
    assert state.position == 9
    assert movement.desk.notifier.messages == ["No next event of s1."]


def test_a_seek_starts_at_the_position_of_the_key_press(movement: Movement) -> None:
    state, navigation, runner = movement.desk.state, movement.navigation, movement.desk.runner
    runner.is_held = True
    state.move_to(3)
    navigation.go_in_stream(1)
    state.move_to(8)
    runner.finish()
    assert state.position == 5


def test_playback_stops_at_the_end(movement: Movement) -> None:
    state = movement.desk.state
    playback = PlaybackController(state, movement.navigation, movement.desk.notifier)
    state.move_to(7)
    playback.change_speed(1)
    assert movement.desk.notifier.messages == ["Play speed: 10 events/s."]
    playback.toggle()
    for _ in range(2):
        playback.tick()
    assert state.position == 9
    assert playback.is_on
    playback.tick()
    assert not playback.is_on
    assert not playback.stop()


def test_a_search_goes_to_its_first_match_and_through_all(movement: Movement) -> None:
    state, search = movement.desk.state, movement.search
    state.move_to(4)
    movement.desk.prompts.enter("search", "sent")
    assert state.position == 6
    assert movement.desk.events.shown[-1] == ("matches", [0, 3, 6, 9])
    search.go_to_match(1)
    search.go_to_match(1)
    assert state.position == 0, "after the last match comes the first"
    assert search.clear_matches()
    assert not search.clear_matches()


def test_a_search_without_matches_opens_the_prompt_again(movement: Movement) -> None:
    movement.desk.prompts.enter("search", "nothing")
    assert movement.desk.notifier.errors == ["No event contains 'nothing'."]
    assert movement.desk.prompts.opened == [("search", "nothing")]


def test_with_a_filter_steps_go_through_its_events(movement: Movement) -> None:
    state, navigation, search = movement.desk.state, movement.navigation, movement.search
    state.move_to(4)
    movement.desk.prompts.enter("filter", "sent")
    assert state.position == 3
    assert search.filter_text == "sent"
    assert [row.position for row in movement.desk.events.shown[-1][1]] == [0, 3, 6, 9]
    navigation.step(1)
    assert state.position == 6
    state.move_to(8)
    navigation.step(-1)
    assert state.position == 6, "between two filtered events, the previous one is the nearest"
    movement.desk.prompts.enter("filter", "")
    navigation.step(1)
    assert state.position == 7
    assert not search.clear_filter()


def test_the_prompt_hands_on_a_text_but_no_empty_one(movement: Movement) -> None:
    desk = movement.desk
    opened: list[tuple[str, ...]] = []
    entered: list[str] = []

    class Line:
        def open(self, purpose: str, label: str, hint: str, value: str = "") -> None:
            opened.append((purpose, value))

    desk.events.has_focus = False
    prompts = PromptController(Line(), desk.events, desk.notifier, lambda call, *v: call(*v))
    prompts.answer_with("when", entered.append)
    prompts.answer_with("note", entered.append, takes_empty=True)
    prompts.open("when")
    prompts.enter("when", "")
    prompts.enter("when", "a > 1")
    prompts.enter("note", "")
    assert entered == ["a > 1", ""]
    assert desk.events.has_focus
    prompts.correct("Wrong.", PromptInput("when", "a >"))
    assert opened == [("when", ""), ("when", "a >")]
    desk.events.has_focus = False
    prompts.correct("Wrong.", PromptInput("when", "a >"))
    assert len(opened) == 2, "the person has gone on"
