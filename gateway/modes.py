"""How a handler's calls to the outside are answered. This module alone names the ways."""

from enum import Enum


class Mode(Enum):
    """What happens to a call that a handler makes while its events are folded."""

    REPLAY = "replay"
    """Queries are answered from recordings; commands are suppressed."""
    WHAT_IF = "what-if"
    """As in a replay, but for what overrides answer otherwise."""
    SEALED = "sealed"
    """Any call is an error, so that its handler becomes a failure at the event's offset."""
    RECORD = "record"
    """Queries go out and are kept; a command goes out to a port that was named for this run."""
    LIVE = "live"
    """As while recording, but nothing is kept."""
    AUDIT = "audit"
    """Answered from recordings; queries go out as well, and what they say now is compared."""

    @property
    def makes_live_calls(self) -> bool:
        return self in (Mode.RECORD, Mode.LIVE, Mode.AUDIT)

    @property
    def keeps_answers(self) -> bool:
        """Whether what was answered is kept."""
        return self is Mode.RECORD


DEFAULT_MODE = Mode.REPLAY
