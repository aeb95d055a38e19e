"""Movement through time: steps, ends, streams, changes, failures, and the way back."""

from collections.abc import Callable

from storage.log.positions import START
from tui.results.prompt_queries import ListFilter
from tui.screens.main.ports import Notifier, PathCursor
from tui.state import navigation
from tui.state.count_prefix import CountPrefix
from tui.state.navigation import Seeker
from tui.state.position_history import PositionHistory
from tui.state.query_runner import Query, QueryRunner
from tui.state.view_state import ViewChange, ViewState


class NavigationController:
    """Moves the view state's position."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        document: PathCursor,
        count: CountPrefix,
    ) -> None:
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._document = document
        self._count = count
        self._jumps = PositionHistory()
        self.list_filter: ListFilter | None = None
        """The filter whose events steps go through; None: all events."""
        state.observe(self._forget, ViewChange.TIMELINE)

    def _forget(self) -> None:
        self._jumps = PositionHistory()
        self.list_filter = None

    def go(self, position: int, *, jump: bool = True) -> None:
        """Move to a position; with `jump` the old position is remembered for ctrl+o."""
        position = max(START, min(position, self._state.data.timeline.last_position))
        if position == self._state.position:
            return
        if jump:
            self._jumps.record_jump(self._state.position)
        self._state.move_to(position)

    def go_to_start(self) -> None:
        self.go(START)

    def go_to_end(self) -> None:
        self.go(self._state.data.timeline.last_position)

    def go_to_share(self, percent: int) -> None:
        """Go to a share of the log."""
        self.go(round(self._state.data.extent.event_count * min(percent, 100) / 100) - 1)

    def step(self, way: int) -> None:
        """Go to the next (1) or previous (-1) event, as often as the typed count says."""
        times = self._count.take_repetitions()
        self.step_by(way * times, jump=times > 1)

    def step_by(self, events: int, *, jump: bool) -> None:
        """Move by a number of events, of those that pass the filter if one is set."""
        if self.list_filter is None:
            self.go(self._state.position + events, jump=jump)
            return
        position = self.list_filter.step(self._state.position, events)
        if position is not None:
            self.go(position, jump=jump)

    def jump_back(self) -> None:
        """Go to the position before the last jump."""
        self._jump_to(self._jumps.back(self._state.position))

    def jump_forward(self) -> None:
        """Go to the position that `jump_back` left."""
        self._jump_to(self._jumps.forward(self._state.position))

    def _jump_to(self, position: int | None) -> None:
        if position is not None:
            self._state.move_to(position)

    def go_in_stream(self, way: int) -> None:
        """Go to the next or previous event of this event's stream."""
        data, position = self._state.data, self._state.position
        self._seek(lambda: navigation.stream_seeker(data, position, way))

    def go_to_change(self, way: int) -> None:
        """Go to the next or previous change of the selected document."""
        data, key = self._state.data, self._state.key
        self._seek(lambda: navigation.change_seeker(data, key, way))

    def go_to_value_change(self, way: int) -> None:
        """Go to the next or previous change of the value under the document's cursor."""
        data, key, path = self._state.data, self._state.key, self._document.path
        self._seek(lambda: navigation.value_change_seeker(data, key, path, way))

    def go_to_failure(self, way: int) -> None:
        """Go to the next or previous event at which a handler raised."""
        data = self._state.data
        self._seek(lambda: navigation.failure_seeker(data, way))

    def _seek(self, choose: Callable[[], Seeker | None]) -> None:
        times, position = self._count.take_repetitions(), self._state.position

        def seek(query: Query) -> tuple[int | None, str] | None:
            seeker = choose()
            if seeker is None:
                return None
            found = seeker.seek(position, times, enough=lambda: query.is_cancelled)
            return found, seeker.noun

        self._runner.run(seek, self._on_found, group="seek", failure="The search failed")

    def _on_found(self, found: tuple[int | None, str] | None) -> None:
        if found is None:
            return
        position, noun = found
        if position is None:
            self._notifier.show_message(f"No {noun}.")
        else:
            self.go(position)
