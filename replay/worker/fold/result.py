"""What a worker's session asks of whatever folds, and the columns in which a batch is told."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Protocol, Set, Tuple

from ..protocol import encoding, tracebacks
from ..protocol.text_limits import bounded, carried

if TYPE_CHECKING:
    from ..protocol.event import Batch, Upcast

IN_PARTS = b""
"""Stands for the JSON of a document that is kept in parts."""
UNCHANGED = -1
"""What stands for the number of a change where there was none yet."""


class OutOfMemoryError(Exception):
    """The process may take no more memory."""


Changed = Dict[str, Tuple[Optional[Tuple[int, ...]], Optional[bytes]]]
"""Parts that have changed, by path: the place where that is new, and the JSON; None: it is gone."""


class ToldParts:
    """What became of the parts of large documents, in columns."""

    def __init__(self) -> None:
        self.rows: List[int] = []
        """For each part that changed, the index of the change."""
        self.paths: List[str] = []
        self.states: List[Optional[bytes]] = []
        self.placed = array("i")
        """Which of them have a new place."""
        self.depths = array("i")
        """How many numbers each of those has."""
        self.numbers = array("q")
        """All of them, one after the other."""

    def take(self, change: int, parts: Changed) -> None:
        """Tell parts that belong to a change."""
        for path, (place, text) in parts.items():
            if place is not None:
                self.placed.append(len(self.paths))
                self.depths.append(len(place))
                self.numbers.extend(place)
            self.rows.append(change)
            self.paths.append(path)
            self.states.append(text)


class Result:
    """What a batch did, in columns."""

    def __init__(self) -> None:
        self.rows: List[int] = []
        """For each change, the index of its event in the batch."""
        self.states: List[Optional[bytes]] = []
        self.keys: List[str] = []
        self.previous: List[int] = []
        """For each change, the number of its document's change before."""
        self.places = array("i")
        """For each change, where its key is among those of its event."""
        self.parts = ToldParts()
        self.route_rows = array("i")
        self.route_keys: List[str] = []
        self.route_places = array("i")
        self.failures: List[Dict[str, Any]] = []
        self.turns: List[Dict[str, Any]] = []
        """Invariants that became broken, or whole again."""
        self.upcasts: List[Dict[str, Any]] = []
        """What events became that were handled as others than they are stored."""
        self.skipped: Dict[str, int] = {}

    def failed(
        self, offset: int, key: Optional[str], kind: Optional[str], error: BaseException
    ) -> None:
        """Tell what a handler raised, or a projection that was asked for keys."""
        self.failures.append(
            {
                "offset": offset,
                "key": key,
                "type": kind,
                "error": carried(bounded(tracebacks.summary(error))),
                "traceback": carried(bounded(tracebacks.user_traceback(error))),
            }
        )

    def upcast(self, event: "Upcast") -> None:
        """Tell what an event became, to be kept beside it."""
        try:
            data: Optional[str] = encoding.encode(event.data).decode()
        except Exception:
            data = None  # it may be anything; only its handler needs to know it
        texts = {name: getattr(event, name) for name in ("stream", "type", "version")}
        told = {n: None if t is None else carried(str(t)) for n, t in texts.items()}
        self.upcasts.append({"offset": event.offset, **told, "data": data})


class Folding(Protocol):
    """Folds batch after batch, and holds what it has to: Python code in this process, or a program."""

    name: str
    runtime: str
    """The interpreter or command; another one is another projection."""
    routed: bool
    """Whether an event's stream needn't be its document."""
    shared: bool
    """Whether several can share the documents of a projection that routes."""
    careful: bool
    """Whether states are written by the rules, as some don't come back from JSON."""
    restores: bool
    """Whether any document comes back from its JSON, whatever it is."""
    renews: bool
    """Whether it can forget its documents and begin anew."""
    only: Optional[Set[str]]
    """The keys that may change, where not all may."""
    decode: Callable[[Any], Any]

    @property
    def declared(self) -> Mapping[str, Optional[str]]:
        """Its invariants: name to the condition, or to None where it is a function."""

    @property
    def merges(self) -> bool:
        """Whether the projection can merge two versions of a document."""

    @property
    def held(self) -> int:
        """The number of documents that take memory in this process."""

    def cool(self) -> None:
        """Take less room, if it can, for documents that have not changed for long."""

    def files(self) -> List[str]:
        """The code that it is made of."""

    def missing(self, batch: "Batch") -> List[str]:
        """Keys that the batch will reach and that aren't known here."""

    def routes(self, batch: "Batch") -> List[List[str]]:
        """The keys that each event reaches; none where asking for them raises."""

    def merged(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:
        """What the projection makes of base, left and right, where it `merges`."""

    def anew(self) -> None:
        """Forget every document, where it `renews`."""

    def count_from(self, change: int) -> None:
        """Number the next change so, and those after it in turn."""

    def resume(self, key: str, change: int, state: Optional[bytes]) -> None:
        """Take a document up from its JSON, which a change made; None for one that was deleted."""

    def unborn(self, keys: List[str]) -> None:
        """Remember of those keys that aren't known by now that they never had a document."""

    def fold(self, batch: "Batch") -> Result:
        """Apply a batch's events in order."""

    def surely_plain(self) -> Optional[bool]:
        """Whether every document comes back from its JSON as it is; None where nobody looked."""

    def probed(self) -> List[Dict[str, Any]]:
        """What a probe has found."""
