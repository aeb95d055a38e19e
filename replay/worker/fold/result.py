"""The interface of a fold engine, and the columns in which it returns a batch's result."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Protocol, Set, Tuple

from ..protocol import encoding, tracebacks
from ..protocol.text_limits import escape_surrogates, truncate_text

if TYPE_CHECKING:
    from ..protocol.event import EventBatch, Upcast

STATE_IN_PARTS = b""
"""Text of a document that is kept in parts, in place of its JSON."""
NO_CHANGE = -1
"""Number of the last change of a document that has none."""


class OutOfMemoryError(Exception):
    """The process has reached its memory limit."""


ChangedParts = Dict[str, Tuple[Optional[Tuple[int, ...]], Optional[bytes]]]
"""Changed parts by path: the place if it is new, or None; and the JSON, None if the part is gone."""


class PartColumns:
    """The changed parts of large documents, in columns."""

    def __init__(self) -> None:
        self.change_rows: List[int] = []
        """For each part that changed, the index of the change."""
        self.paths: List[str] = []
        self.states: List[Optional[bytes]] = []
        self.placed_rows = array("i")
        """The rows of this table whose part has a new place."""
        self.depths = array("i")
        """For each new place, how many numbers it has."""
        self.place_numbers = array("q")
        """The numbers of all new places, one after the other."""

    def add_parts(self, change: int, parts: ChangedParts) -> None:
        """Add the changed parts of a change; `change` is its index in the batch's result."""
        for path, (place, text) in parts.items():
            if place is not None:
                self.placed_rows.append(len(self.paths))
                self.depths.append(len(place))
                self.place_numbers.extend(place)
            self.change_rows.append(change)
            self.paths.append(path)
            self.states.append(text)


class ResultColumns:
    """The result of a batch, in columns."""

    def __init__(self) -> None:
        self.event_rows: List[int] = []
        """For each change, the index of its event in the batch."""
        self.states: List[Optional[bytes]] = []
        self.keys: List[str] = []
        self.previous_changes: List[int] = []
        """For each change, the number of its document's previous change."""
        self.key_places = array("i")
        """For each change, the index of its key among its event's keys."""
        self.part_columns = PartColumns()
        self.route_rows = array("i")
        self.route_keys: List[str] = []
        self.route_places = array("i")
        self.failures: List[Dict[str, Any]] = []
        self.invariant_transitions: List[Dict[str, Any]] = []
        """Invariants that a document began to break, or holds again."""
        self.upcasts: List[Dict[str, Any]] = []
        """Events that an upcast changed, as the handlers saw them."""
        self.unhandled_by_type: Dict[str, int] = {}

    def add_failure(
        self, offset: int, key: Optional[str], type_name: Optional[str], error: BaseException
    ) -> None:
        """Add what a handler, an upcast or `key` raised; `key` is None if the document is unknown."""
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
        """Add an upcast event, which is stored beside the original."""
        try:
            data: Optional[str] = encoding.encode_exactly(event.data).decode()
        except Exception:
            data = None  # not encodable; only the handler needs it
        texts = {name: getattr(event, name) for name in ("stream", "type", "version")}
        fields = {n: None if t is None else escape_surrogates(str(t)) for n, t in texts.items()}
        self.upcasts.append({"offset": event.offset, **fields, "data": data})


class FoldEngine(Protocol):
    """Folds batch after batch, by Python code in this process or by a program."""

    name: str
    runtime: str
    """The interpreter or command; it is part of the projection's identity."""
    is_routed: bool
    """Whether an event's key may differ from its stream."""
    can_share_documents: bool
    """Whether several workers can share the documents of a routed projection."""
    uses_exact_encoding: bool
    """Whether states are encoded by the exact rules, because some don't round-trip through JSON."""
    restores_from_json: bool
    """Whether every document can be restored from its JSON, whatever its state is."""
    can_reset: bool
    """Whether it can forget its documents and start again."""
    only_keys: Optional[Set[str]]
    """The only keys that may change; None if all may."""
    decode: Callable[[Any], Any]

    @property
    def invariant_conditions(self) -> Mapping[str, Optional[str]]:
        """The projection's invariants: name to SQL condition, or to None for a function."""

    @property
    def can_merge(self) -> bool:
        """Whether the projection can merge two versions of a document."""

    @property
    def held_documents(self) -> int:
        """The number of documents that take memory in this process."""

    def release_memory(self) -> None:
        """Free memory, if possible, of documents that have not changed for long."""

    def list_files(self) -> List[str]:
        """Return the paths of the projection's code files."""

    def find_missing_keys(self, batch: "EventBatch") -> List[str]:
        """Return the keys that the batch reaches and whose documents this engine doesn't know."""

    def route_events(self, batch: "EventBatch") -> List[List[str]]:
        """Return the keys that each event reaches; an empty list if `key` raises."""

    def merge_documents(self, versions: List[List[Any]]) -> List[Dict[str, Any]]:
        """Merge each (base, left, right) if `can_merge`; return `state` or `error` for each."""

    def reset(self) -> None:
        """Forget every document, if `can_reset`."""

    def set_next_change(self, change: int) -> None:
        """Set the number of the next change; later changes count up from it."""

    def resume(self, key: str, change: int, state: Optional[bytes]) -> None:
        """Restore a document from its JSON after a change; None for a deleted document."""

    def add_absent_documents(self, keys: List[str]) -> None:
        """Note that the keys that aren't known by now never had a document."""

    def fold(self, batch: "EventBatch") -> ResultColumns:
        """Apply a batch's events in order and return what they changed."""

    def all_round_trip_json(self) -> Optional[bool]:
        """Return whether every document round-trips through JSON; None if that wasn't checked."""

    def take_probe_findings(self) -> List[Dict[str, Any]]:
        """Return the probe's findings; an empty list without a probe."""
