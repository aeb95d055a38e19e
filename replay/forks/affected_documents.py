"""The documents that may differ between a fork and its parent, and the first such position."""

from dataclasses import dataclass, field

from storage.log.event_rows import EventHead


@dataclass
class AffectedDocuments:
    """The documents that may differ between a fork and its parent."""

    since_position: int
    """The first position on the fork at which a document may differ."""
    parent_since_position: int
    """The same position on the parent."""
    keys: set[str] = field(default_factory=set)
    """The keys of these documents; ignored if `affects_all_documents` is true."""
    affects_all_documents: bool = False
    hidden_events: list[EventHead] = field(default_factory=list)
    """The parent's events that the fork drops, replaces or moves."""
