"""What a worker's session asks of whatever folds, and the columns in which a batch is told."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Protocol, Set, Tuple

from ..protocol import encoding, tracebacks
from ..protocol.text_limits import escape_surrogates, truncate_text

if TYPE_CHECKING:
    from ..protocol.event import EventBatch, Upcast

STATE_IN_PARTS = b""
"""Stands for the JSON of a document that is kept in parts."""
NO_CHANGE = -1
"""What stands for the number of a change where there was none yet."""


class OutOfMemoryError(Exception):
    """The process may take no more memory."""


ChangedParts = Dict[str, Tuple[Optional[Tuple[int, ...]], Optional[bytes]]]
"""Parts that have changed, by path: the place where that is new, and the JSON; None: it is gone."""


class PartColumns:
    """What became of the parts of large documents, in columns."""

    def __init__(self) -> None:
        self.change_rows: List[int] = []
        """For each part that changed, the index of the change."""
        self.paths: List[str] = []
        self.states: List[Optional[bytes]] = []
        self.placed_rows = array("i")
        """Which of them have a new place."""
        self.depths = array("i")
        """How many numbers each of those has."""
        self.place_numbers = array("q")
        """All of them, one after the other."""

    def add_parts(self, change: int, parts: ChangedParts) -> None:
        """Tell parts that belong to a change."""
        for path, (place, text) in parts.items():
            if place is not None:
                self.placed_rows.append(len(self.paths))
                self.depths.append(len(place))
                self.place_numbers.extend(place)
            self.change_rows.append(change)
            self.paths.append(path)
            self.states.append(text)


class ResultColumns:
    """What a batch did, in columns."""

    def __init__(self) -> None:
        self.event_rows: List[int] = []
        """For each change, the index of its event in the batch."""
        self.states: List[Optional[bytes]] = []
        self.keys: List[str] = []
        self.previous_changes: List[int] = []
        """For each change, the number of its document's change before."""
        self.key_places = array("i")
        """For each change, where its key is among those of its event."""
        self.part_columns = PartColumns()
        self.route_rows = array("i")
        self.route_keys: List[str] = []
        self.route_places = array("i")
        self.failures: List[Dict[str, Any]] = []
        self.invariant_transitions: List[Dict[str, Any]] = []
        """Invariants that became broken, or whole again."""
        self.upcasts: List[Dict[str, Any]] = []
        """What events became that were handled as others than they are stored."""
        self.unhandled_by_type: Dict[str, int] = {}

    def add_failure(
        self, offset: int, key: Optional[str], type_name: Optional[str], error: BaseException
    ) -> None:
        """Tell what a handler raised, or a projection that was asked for keys."""
        self.failures.append(
            {
                "offset": offset,
                "key": key,
                "type": type_name,
                "error": escape_surrogates(truncate_text(tracebacks.summarize_error(error))),
                "traceback": escape_surrogates(
                    truncate_text(tracebacks.format_user_traceback(error))
                ),
            }
        )

    def add_upcast(self, event: "Upcast") -> None:
        """Tell what an event became, to be kept beside it."""
        try:
            data: Optional[str] = encoding.encode_exactly(event.data).decode()
        except Exception:
            data = None  # it may be anything; only its handler needs to know it
        texts = {name: getattr(event, name) for name in ("stream", "type", "version")}
        fields = {n: None if t is None else escape_surrogates(str(t)) for n, t in texts.items()}
        self.upcasts.append({"offset": event.offset, **fields, "data": data})


class FoldEngine(Protocol):
    """Folds batch after batch, and holds what it has to: Python code in this process, or a program."""

    name: str
    runtime: str
    """The interpreter or command; another one is another projection."""
    is_routed: bool
    """Whether an event's stream needn't be its document."""
    can_share_documents: bool
    """Whether several can share the documents of a projection that routes."""
    uses_exact_encoding: bool
    """Whether states are written by the rules, as some don't come back from JSON."""
    restores_from_json: bool
    """Whether any document comes back from its JSON, whatever it is."""
    can_reset: bool
    """Whether it can forget its documents and begin anew."""
    only_keys: Optional[Set[str]]
    """The keys that may change, where not all may."""
    decode: Callable[[Any], Any]

    @property
    def invariant_conditions(self) -> Mapping[str, Optional[str]]:
        """Its invariants: name to the condition, or to None where it is a function."""

    @property
    def can_merge(self) -> bool:
        """Whether the projection can merge two versions of a document."""

    @property
    def held_documents(self) -> int:
        """The number of documents that take memory in this process."""

    def release_memory(self) -> None:
        """Take less room, if it can, for documents that have not changed for long."""

    def list_files(self) -> List[str]:
        """The code that it is made of."""

    def find_missing_keys(self, batch: "EventBatch") -> List[str]:
        """Keys that the batch will reach and that aren't known here."""

    def route_events(self, batch: "EventBatch") -> List[List[str]]:
        """The keys that each event reaches; none where asking for them raises."""

    def merge_documents(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:
        """What the projection makes of base, left and right, where it `merges`."""

    def reset(self) -> None:
        """Forget every document, where it `renews`."""

    def set_next_change(self, change: int) -> None:
        """Number the next change so, and those after it in turn."""

    def resume(self, key: str, change: int, state: Optional[bytes]) -> None:
        """Take a document up from its JSON, which a change made; None for one that was deleted."""

    def unborn(self, keys: List[str]) -> None:
        """Remember of those keys that aren't known by now that they never had a document."""

    def fold(self, batch: "EventBatch") -> ResultColumns:
        """Apply a batch's events in order."""

    def all_round_trip_json(self) -> Optional[bool]:
        """Whether every document comes back from its JSON as it is; None where nobody looked."""

    def take_probe_findings(self) -> List[Dict[str, Any]]:
        """What a probe has found."""
