"""Search and filter: the prompts for positions and documents, matches to go through, a shorter list."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from storage.coordinates.offset_set import Offsets, pack_offsets
from storage.plural import format_count
from tui.results.prompt_queries import (
    ANSWERED_PROMPTS,
    DocumentAnswer,
    ListFilter,
    PositionAnswer,
    PromptAnswer,
    SearchMatches,
    answer_prompt,
)
from tui.screens.main.navigation import NavigationController
from tui.screens.main.ports import Notifier, PromptInput, Prompts
from tui.state.count_prefix import CountPrefix
from tui.state.query_runner import QueryRunner
from tui.state.timeline_view import ListedEvent
from tui.state.view_state import ViewChange, ViewState


class EventList(Protocol):
    """The event list."""

    def show_all(self, count: int, fetch: Callable[[int, int], Sequence[ListedEvent]]) -> None: ...

    def show_only(
        self, found: "Offsets[int]", what: str, fetch: Callable[..., Sequence[ListedEvent]]
    ) -> None: ...

    def mark_matches(self, matches: "Offsets[int]") -> None: ...

    def move_cursor_to(self, position: int) -> None: ...


class SearchController:
    """Answers the prompts that ask for a position, matches, a filter or a document."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        prompts: Prompts,
        navigation: NavigationController,
        events: EventList,
        count: CountPrefix,
    ) -> None:
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._prompts = prompts
        self._navigation = navigation
        self._events = events
        self._count = count
        self.matches: SearchMatches | None = None
        """What n and N go through."""
        for purpose in ANSWERED_PROMPTS:
            takes_empty = purpose == "filter"
            prompts.answer_with(purpose, partial(self.answer, purpose), takes_empty=takes_empty)
        state.observe(self._on_timeline, ViewChange.TIMELINE)
        state.observe(self._on_log, ViewChange.LOG)

    @property
    def filter_text(self) -> str:
        """The text of the filter; empty without one."""
        found = self._navigation.list_filter
        return "" if found is None else found.text

    def answer(self, purpose: str, text: str) -> None:
        """Answer a prompt; an error opens the prompt again. An empty text shows all events."""
        if not text:
            self.clear_filter()
            return
        data, typed = self._state.data, PromptInput(purpose, text)
        self._runner.run(
            lambda _: answer_prompt(data, purpose, text),
            self._take_answer,
            group="prompt",
            failure=f"{text!r} failed",
            on_error=lambda message: self._prompts.correct(message, typed),
        )

    def _take_answer(self, found: PromptAnswer) -> None:
        self._notifier.clear_error()
        if isinstance(found, PositionAnswer):
            self._navigation.go(found.position)
        elif isinstance(found, DocumentAnswer):
            self._state.select_document(found.key)
        elif isinstance(found, SearchMatches):
            self._show_matches(found)
        else:
            self._show_filter(found)

    def _show_matches(self, found: SearchMatches) -> None:
        self.set_matches(found)
        count = format_count(len(found.offsets), "event")
        self._notifier.show_message(f"{count} with {found.text!r}: n next, N previous.")
        self._navigation.go(found.first_match_from(self._state.position))

    def set_matches(self, found: SearchMatches | None) -> None:
        """Set the matches that n and N go through and that the event list marks."""
        self.matches = found
        self._events.mark_matches(found.offsets if found else pack_offsets())

    def clear_matches(self) -> bool:
        """Forget the matches; return whether there were any."""
        if self.matches is None:
            return False
        self.set_matches(None)
        return True

    def go_to_match(self, way: int) -> None:
        """Go to the next or previous match."""
        if self.matches is not None and self.matches.offsets:
            times = self._count.take_repetitions()
            self._navigation.go(self.matches.step(self._state.position, way, times))

    def _show_filter(self, found: ListFilter) -> None:
        self._navigation.list_filter = found
        fetch = self._state.data.timeline.event_rows_at
        self._events.show_only(found.offsets, found.text, fetch)
        self._navigation.go(found.nearest_offset(self._state.position))
        self._events.move_cursor_to(self._state.position)

    def clear_filter(self) -> bool:
        """Show all events again; return whether there was a filter."""
        if self._navigation.list_filter is None:
            return False
        self._navigation.list_filter = None
        self.show_all_events()
        return True

    def show_all_events(self) -> None:
        """Show all events of the timeline."""
        timeline = self._state.data.timeline
        self._events.show_all(timeline.extent.event_count, timeline.event_rows)
        self._events.move_cursor_to(self._state.position)

    def _on_timeline(self) -> None:
        self.set_matches(None)
        self.show_all_events()

    def _on_log(self) -> None:
        if self._navigation.list_filter is None:
            self.show_all_events()
