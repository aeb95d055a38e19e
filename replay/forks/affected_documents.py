"""Which documents may differ on a fork, and from which position on."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class AffectedDocuments:
    """What may be otherwise."""

    since: int
    """The first place from which on anything may be."""
    parents_since: int
    """The same place on the parent."""
    keys: set[str] = field(default_factory=set)
    everything: bool = False
    hidden: list[dict[str, Any]] = field(default_factory=list)
    """The parent's events that are no more: `offset`, `type` and `stream`."""
