"""Playback: the position advances by itself until the log ends or the person stops it."""

from tui.screens.main.navigation import NavigationController
from tui.screens.main.ports import Notifier
from tui.state.playback import Playback
from tui.state.view_state import ViewState


class PlaybackController:
    """Steps through the events at a chosen speed."""

    TICK_SECONDS = 0.1

    def __init__(
        self, state: ViewState, navigation: NavigationController, notifier: Notifier
    ) -> None:
        self._state = state
        self._navigation = navigation
        self._notifier = notifier
        self._playback = Playback()

    @property
    def is_on(self) -> bool:
        """Whether playback is on."""
        return self._playback.on

    def toggle(self) -> None:
        """Play or pause."""
        self._playback.toggle()

    def stop(self) -> bool:
        """Pause; return whether playback was on."""
        was_on = self._playback.on
        if was_on:
            self._playback.toggle()
        return was_on

    def change_speed(self, by: int) -> None:
        """Change to the next faster (1) or slower (-1) speed."""
        self._playback.change_speed(by)
        self._notifier.show_message(f"Play speed: {self._playback.speed:,} events/s.")

    def tick(self) -> None:
        """Take the steps that are due. Call it every `TICK_SECONDS`."""
        steps = self._playback.due_steps(self.TICK_SECONDS)
        if not steps:
            return
        before = self._state.position
        self._navigation.step_by(steps, jump=False)
        self._playback.on = self._state.position != before
