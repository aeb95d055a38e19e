"""The modes in which calls of handlers are answered."""

from enum import Enum


class Mode(Enum):
    """How a call is answered that a handler makes while its events are folded."""

    REPLAY = "replay"
    """Queries are answered from recordings; commands are suppressed."""
    WHAT_IF = "what-if"
    """Like `replay`, but overrides may change answers."""
    SEALED = "sealed"
    """Every call is an error, so its handler becomes a failure at the event's offset."""
    RECORD = "record"
    """Queries are made and kept; commands are sent only to ports that were named for this run."""
    LIVE = "live"
    """Like `record`, but nothing is kept."""
    AUDIT = "audit"
    """Answered from recordings; queries are also made live, and their answers compared."""

    @property
    def makes_live_calls(self) -> bool:
        return self in (Mode.RECORD, Mode.LIVE, Mode.AUDIT)

    @property
    def keeps_answers(self) -> bool:
        """Whether answers are kept as recordings."""
        return self is Mode.RECORD


DEFAULT_MODE = Mode.REPLAY
