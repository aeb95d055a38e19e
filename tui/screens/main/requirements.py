"""Which command requirements are met now, see `tui.commands`."""

from tui.commands import requirement_names
from tui.folding.controller import FoldController
from tui.screens.main.comparison import ComparisonController
from tui.screens.main.merges import MergeController
from tui.screens.main.results import ResultsController
from tui.screens.main.search import SearchController
from tui.state.view_state import ViewState


def find_met_requirements(
    state: ViewState,
    folds: FoldController,
    search: SearchController,
    results: ResultsController,
    comparison: ComparisonController,
    merges: MergeController,
) -> set[str]:
    """Return the names of the requirements that are met."""
    history, snapshot = state.data.history, state.snapshot
    return requirement_names(
        history=history is not None,
        failures=history is not None and history.fold_record.failure_count > 0,
        document=state.key is not None,
        search=search.matches is not None,
        findings=results.is_open,
        fold=folds.running,
        projections=folds.count > 1,
        reference=folds.current is not None,
        calls=history is not None and history.fold_record.call_count > 0,
        called=snapshot is not None and bool(snapshot.calls),
        fork=state.data.fork is not None,
        beside=comparison.parent_comparison is not None,
        conflict=merges.conflict is not None,
    )
