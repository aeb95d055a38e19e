"""What surrounds the user's code in a worker: closed doors, the gateway, and the time of the event.

They are put up in this order: clocks and clients before the user's code is imported, the doors when
all that is ours is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from . import clients
from .audit_hook import Room
from .calls import Calls, Told
from .deterministic_time import OwnTime
from .gateway import Gateway
from .shifted_world import World

if TYPE_CHECKING:
    from ..protocol.channel import Line


class Surroundings:
    """The world of one worker."""

    def __init__(self, mark: Any, line: "Line", spec: Dict[str, Any]) -> None:
        """`spec` has `name`, `own_time`, and `world` where clocks are to be ahead."""
        self.calls = Calls(mark, line)
        self._own = OwnTime(self.calls, spec["name"])
        self.gateway = Gateway(self.calls, self._own)
        self._ahead: Optional[Dict[str, int]] = spec["world"]
        self._world = World(mark)
        self._own_time = bool(spec["own_time"])
        self._room = Room(self.calls.blocked, lambda: mark[0] >= 0)

    def enter(self) -> None:
        """Put up all that the user's code is to find when it is imported."""
        if self._ahead is not None:
            self._world.enter(**self._ahead)
        elif self._own_time:
            self._own.enter()
        self.calls.follow_threads()
        clients.intercept(self.calls)

    def close(self) -> None:
        """Close the doors."""
        self._room.close()

    def taken(self) -> Tuple[Told, List[Dict[str, Any]]]:
        """What became of calls since the last time, and what was read of clocks and chance."""
        return self.calls.taken(), self._world.taken() if self._ahead else self._own.taken()
