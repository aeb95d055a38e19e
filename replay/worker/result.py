"""What a batch did to documents: the columns in which a worker tells it."""

from __future__ import annotations

from array import array
from typing import Any, Dict, List, Optional

UNCHANGED = -1
"""What stands for the number of a change where there was none yet."""


class OutOfMemoryError(Exception):
    """The process may take no more memory."""


class Result:
    """What a batch did, in columns."""

    def __init__(self) -> None:
        self.rows = array("i")
        """For each change, the index of its event in the batch."""
        self.states: List[Optional[bytes]] = []
        self.keys: List[str] = []
        self.previous = array("q")
        """For each change, the number of its document's change before."""
        self.places = array("i")
        """For each change, where its key is among those of its event."""
        self.route_rows = array("i")
        self.route_keys: List[str] = []
        self.route_places = array("i")
        self.failures: List[Dict[str, Any]] = []
        self.turns: List[Dict[str, Any]] = []
        """Invariants that became broken, or whole again."""
        self.upcasts: List[Dict[str, Any]] = []
        """What events became that were handled as others than they are stored."""
        self.reads: List[Dict[str, Any]] = []
        """What was read of the world at which event, where that is looked at."""
        self.skipped: Dict[str, int] = {}
