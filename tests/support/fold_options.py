"""The options of a fold, from the names by which tests ask for them."""

from typing import Any

from replay.event_fold.fold_run import FoldCallbacks, FoldLimits
from replay.worker_host.worker_process import PATIENCE_SECONDS


def build_fold_options(
    *,
    workers: int = 1,
    patience: float = PATIENCE_SECONDS,
    memory: int | None = None,
    on_progress: Any = None,
    cancelled: Any = bool,
    ask: Any = None,
    **others: Any,
) -> dict[str, Any]:
    """Return the arguments of `fold_projection`; it passes on `others` unchanged."""
    return {
        "limits": FoldLimits(workers, patience, memory),
        "callbacks": FoldCallbacks(on_progress, cancelled, ask),
        **others,
    }
