"""The fold that runs, and what the screen knows of it. Only the screen's thread changes it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replay.history.history import History
from replay.projection.projection_reference import Reference
from tui.folding.fold_process import FoldMessage, FoldProcess

if TYPE_CHECKING:
    from tui.folding.fork_fold import ForkFoldThread


@dataclass
class RunningFold:
    """A running fold."""

    fold: "FoldProcess | ForkFoldThread"
    wanted: Reference
    old: History | None
    """The history to compare with, if a code edit started the fold."""
    message: FoldMessage = field(default_factory=FoldMessage)
    """The message shown last."""
    compared: FoldMessage = field(default_factory=FoldMessage)
    """The message at the last comparison."""
    compare_after: float = 0.0
    is_querying: bool = False
