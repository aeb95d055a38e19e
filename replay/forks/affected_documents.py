"""Which documents may differ on a fork, and from which position on."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class AffectedDocuments:
    """What may be otherwise."""

    since_position: int
    """The first place from which on anything may be."""
    parent_since_position: int
    """The same place on the parent."""
    keys: set[str] = field(default_factory=set)
    affects_all_documents: bool = False
    hidden_events: list[dict[str, Any]] = field(default_factory=list)
    """The parent's events that are no more: `offset`, `type` and `stream`."""
