"""Runs sweeps: folds one fork per value of a parameter or per dropped event, and compares them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from replay.event_fold.fold_run import FoldCallbacks, FoldLimits, FoldRun
from replay.forks.sweep import trial_fold
from replay.forks.sweep.trial_fold import TrialResult
from replay.forks.sweep.variants import SweepVariant
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection.projection_reference import Reference
from replay.query.aggregate_totals import AggregateTotals, TrialStateChange
from replay.worker_host.gateway_bridge import GatewayBridge
from storage.errors import CancelledError, QueryError
from storage.workspace.workspace import Workspace

_PAGE_VARIANTS = 50
_CONCURRENT_WORKERS = 2


@dataclass(frozen=True)
class VariantOutcome:
    """The result of one variant."""

    variant: SweepVariant
    values: Sequence[float | None]
    """The values of the requested aggregates, in their order."""
    differing_documents: int
    """The number of documents that differ from the parent at the end."""
    failure_count: int
    """Handlers that raised, in the documents that may differ."""
    error: str | None
    """Why the variant couldn't be folded; None if it was."""


@dataclass(frozen=True)
class SweepResult:
    """The outcomes of all variants, and the aggregates of the timeline itself."""

    base_values: Sequence[float | None]
    outcomes: Sequence[VariantOutcome]

    def rank(self, *, aggregate_index: int = 0, ascending: bool = False) -> list[VariantOutcome]:
        """Return the outcomes sorted by one aggregate, the highest first; those without a value last."""

        def rank(outcome: VariantOutcome) -> tuple[bool, float]:
            value = outcome.values[aggregate_index] if outcome.values else None
            number = 0.0 if value is None else value if ascending else -value
            return value is None or outcome.error is not None, number

        return sorted(self.outcomes, key=rank)


def sweep_variants(
    workspace: Workspace,
    reference: Reference,
    base_record: FoldRecord,
    variants: Sequence[SweepVariant],
    aggregates: Sequence[str],
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    worker_count: int = _CONCURRENT_WORKERS,
) -> SweepResult:
    """Fold the affected documents of each variant, and compute the aggregates at its end.

    `base_record` is the timeline's own fold. `on_progress` receives the number of finished variants.
    Raises the errors of a fold, and `QueryError` for an invalid aggregate or documents in parts.
    """
    if base_record.part_change_count:
        raise QueryError(
            f"{base_record.name} can't be swept, because it has documents so large that they are kept in"
            " parts. Make single forks with `refold fork`, and compare them."
        )
    totals = AggregateTotals(
        History(workspace, base_record), aggregates, base_record.next_offset - 1
    )
    done_count = 0

    def try_page(page: Sequence[SweepVariant]) -> list[TrialResult]:
        with GatewayBridge(workspace, reference) as gateway_bridge:
            run = FoldRun(
                workspace,
                reference,
                base_record.next_offset,
                FoldLimits(),
                FoldCallbacks(is_cancelled=is_cancelled),
                gateway_bridge,
            )
            return list(
                trial_fold.try_forks(run, base_record, [one.forked_workspace for one in page])
            )

    outcomes: list[VariantOutcome] = []
    size = max(_PAGE_VARIANTS, -(-len(variants) // (10 * worker_count)))
    pages = [variants[first : first + size] for first in range(0, len(variants), size)]
    with ThreadPoolExecutor(worker_count) as threads:
        waiting = [threads.submit(try_page, page) for page in pages]
        try:
            for page, found in zip(pages, waiting, strict=True):
                outcomes += _build_outcomes(page, found.result(), totals)
                done_count += len(page)
                on_progress(done_count)
                if is_cancelled():
                    raise CancelledError(
                        f"Stopped after {done_count:,} of {len(variants):,} forks."
                    )
        finally:
            threads.shutdown(cancel_futures=True)
    return SweepResult(totals.values, outcomes)


def _build_outcomes(
    page: Sequence[SweepVariant], results: Sequence[TrialResult], totals: AggregateTotals
) -> Iterator[VariantOutcome]:
    changed = [
        TrialStateChange(trial, sign, key, state.offset, state.state)
        for trial, one in enumerate(results)
        for key, (before, after) in one.differing_documents.items()
        for sign, state in ((-1, before), (1, after))
        if state is not None and state.state is not None
    ]
    values = (
        totals.compute_trial_totals(changed, len(results))
        if totals.texts
        else [[] for _ in results]
    )
    for variant, one, row in zip(page, results, values, strict=True):
        numbers = [None] * len(row) if one.error else row
        yield VariantOutcome(
            variant, numbers, len(one.differing_documents), one.failure_count, one.error
        )
