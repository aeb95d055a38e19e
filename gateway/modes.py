"""How a handler's calls to the outside are answered. This module alone names the ways."""

from enum import Enum


class Mode(Enum):
    """What happens to a call that a handler makes while its events are folded."""

    SEALED = "sealed"
    """Any call is an error, so that its handler becomes a failure at the event's offset."""


DEFAULT = Mode.SEALED
"""Nothing is recorded yet, so nothing could be answered; and nothing is ever let out."""
