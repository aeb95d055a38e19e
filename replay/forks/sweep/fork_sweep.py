"""Sweeps: one fork for each value of a parameter, or for each event that is dropped, side by side."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from replay.event_fold.run_context import Means, Run
from replay.forks.sweep import trial_fold
from replay.forks.sweep.trial_fold import Tried
from replay.forks.sweep.variants import Variant
from replay.history.catalogue import Folded
from replay.history.history import History
from replay.projection.reference import Reference
from replay.query.aggregate_totals import Changed, Totals
from replay.worker_host.gateway_bridge import Calling
from storage.errors import CancelledError, QueryError
from storage.workspace.workspace import Workspace

_PAGE = 50
_AT_ONCE = 2


@dataclass(frozen=True)
class Outcome:
    """What a variant came to."""

    variant: Variant
    values: Sequence[float | None]
    """The aggregates that were asked for, in their order."""
    differing: int
    """Documents that differ at the end."""
    failures: int
    trouble: str | None
    """Why it couldn't be folded."""


@dataclass(frozen=True)
class Swept:
    """All outcomes, and what the timeline itself comes to."""

    base: Sequence[float | None]
    outcomes: Sequence[Outcome]

    def ranked(self, *, by: int = 0, ascending: bool = False) -> list[Outcome]:
        """By one of the aggregates, the highest first; those without one last."""

        def rank(outcome: Outcome) -> tuple[bool, float]:
            value = outcome.values[by] if outcome.values else None
            number = 0.0 if value is None else value if ascending else -value
            return value is None or outcome.trouble is not None, number

        return sorted(self.outcomes, key=rank)


def sweep(
    workspace: Workspace,
    wanted: Reference,
    base: Folded,
    variants: Sequence[Variant],
    aggregates: Sequence[str],
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    at_once: int = _AT_ONCE,
) -> Swept:
    """Fold what differs on each variant, and ask each for the aggregates at its end.

    `base` is the timeline's own fold. `on_progress` is told how many are done. Raises as a fold does,
    and `QueryError` where an aggregate can't be asked.
    """
    if base.parts:
        raise QueryError(
            f"{base.name} has documents so large that they are kept in parts, and those can't be"
            " swept; fork single timelines, and compare them."
        )
    totals = Totals(History(workspace, base), aggregates, base.folded - 1)
    done = 0

    def tried(page: Sequence[Variant]) -> list[Tried]:
        with Calling(workspace, wanted) as calling:
            means = Means(1, 30.0, None)
            run = Run(workspace, wanted, base.folded, means, None, cancelled, calling)
            return list(trial_fold.tries(run, base, [one.seen for one in page]))

    outcomes: list[Outcome] = []
    size = max(_PAGE, -(-len(variants) // (10 * at_once)))
    pages = [variants[first : first + size] for first in range(0, len(variants), size)]
    with ThreadPoolExecutor(at_once) as threads:
        waiting = [threads.submit(tried, page) for page in pages]
        try:
            for page, found in zip(pages, waiting, strict=True):
                outcomes += _outcomes(page, found.result(), totals)
                done += len(page)
                on_progress(done)
                if cancelled():
                    raise CancelledError(f"Stopped after {done:,} of {len(variants):,} forks.")
        finally:
            threads.shutdown(cancel_futures=True)
    return Swept(totals.values, outcomes)


def _outcomes(page: Sequence[Variant], found: Sequence[Tried], totals: Totals) -> Iterator[Outcome]:
    changed = [
        Changed(trial, sign, key, state.offset, state.state)
        for trial, one in enumerate(found)
        for key, (before, after) in one.differing.items()
        for sign, state in ((-1, before), (1, after))
        if state is not None and state.state is not None
    ]
    values = totals.changed(changed, len(found)) if totals.texts else [[] for _ in found]
    for variant, one, row in zip(page, found, values, strict=True):
        numbers = [None] * len(row) if one.trouble else row
        yield Outcome(variant, numbers, len(one.differing), one.failures, one.trouble)
