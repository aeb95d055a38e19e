"""The comparison of a fork with its parent, or of old and new code, for the selected document."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from replay.document.diff import Difference
from replay.history.history import History
from storage.errors import RefoldError
from tui.results import fork_queries
from tui.screens.main.results import ResultsController
from tui.state.parent_comparison import ParentComparison, compare_with_parent
from tui.state.query_runner import QueryRunner
from tui.state.shown_data import ShownData
from tui.state.snapshot import LateDetails
from tui.state.view_state import ViewChange, ViewState
from tui.widgets.compared_pane import ComparedDocument


class DocumentComparison(Protocol):
    """A comparison of documents between two sides."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two sides."""

    @property
    def differing_documents(self) -> int:
        """The number of documents that differ."""

    @property
    def end_offset(self) -> int:
        """The number of events that are folded on both sides."""

    def differences(self, key: str, position: int) -> list[Difference]:
        """Return the differences of a document at a position."""


class CodeEdits(Protocol):
    """The folds, as far as the comparison with the code before an edit is concerned."""

    @property
    def edit(self) -> DocumentComparison | None: ...


class ComparedView(Protocol):
    """The pane that compares the selected document."""

    def show_document(self, document: ComparedDocument) -> None: ...


class ComparisonController:
    """Compares in threads, and shows the what-if banner."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        results: ResultsController,
        folds: CodeEdits,
        pane: ComparedView,
        show_banner: Callable[[str], object],
        request_snapshot: Callable[[], object],
    ) -> None:
        """`show_banner` shows what is hypothetical; an empty text hides the banner."""
        self._state = state
        self._runner = runner
        self._results = results
        self._folds = folds
        self._pane = pane
        self._show_banner = show_banner
        self._request_snapshot = request_snapshot
        self.parent_comparison: ParentComparison | None = None
        """The current fork compared with its parent; None without a folded fork."""
        self._compared: History | None = None
        """The history that was last compared with its parent."""
        state.observe(self._on_timeline, ViewChange.TIMELINE)

    @property
    def sides(self) -> DocumentComparison | None:
        """What the selected document is compared in; a code edit takes precedence."""
        return self._folds.edit or self.parent_comparison

    @property
    def has_differences(self) -> bool:
        """Whether any document differs."""
        sides = self.sides
        return sides is not None and sides.differing_documents > 0

    def _on_timeline(self) -> None:
        self.parent_comparison = self._compared = None
        fork = self._state.data.fork
        self._show_banner("" if fork is None else fork_queries.what_if_banner(fork, None))

    def compare_with_parent(self) -> None:
        """Compare the current fork with its parent, if its history has changed."""
        data = self._state.data
        if self._folds.edit is not None or data.history is self._compared:
            return
        self._compared = data.history
        self._runner.run(
            lambda _: _compare_with_parent(data),
            partial(self._show_parent_comparison, data),
            group="parent comparison",
            failure="The comparison failed",
        )

    def _show_parent_comparison(
        self, data: ShownData, found: tuple[ParentComparison | None, str]
    ) -> None:
        if data.workspace is not self._state.data.workspace:
            return  # the screen shows another timeline by now
        self.parent_comparison, banner = found
        self._show_banner(banner)
        self._request_snapshot()

    def show_document(self, details: LateDetails) -> None:
        """Compare the selected document at a position, in a thread."""
        sides, key, position = self.sides, details.key, details.position
        if sides is None or key is None or not sides.differing_documents:
            return
        compared = ComparedDocument(
            key, sides.names, position, self._state.data.position_label(position)
        )
        if position >= sides.end_offset:
            self._pane.show_document(compared.with_note("not folded up to this event yet"))
            return

        def show(found: Sequence[Difference]) -> None:
            self._pane.show_document(compared.with_differences(found))

        self._runner.run(
            lambda _: sides.differences(key, position),
            show,
            group="compared document",
            failure="The comparison failed",
            on_error=lambda message: self._pane.show_document(compared.with_note(message)),
        )

    def list_documents(self) -> None:
        """List the documents that differ from the parent."""
        sides = self.parent_comparison
        if sides is not None:
            self._results.run_query(lambda data: fork_queries.differing_documents(data, sides))

    def list_calls(self) -> None:
        """List the outside calls that differ from the parent."""
        sides = self.parent_comparison
        if sides is not None:
            self._results.run_query(lambda data: fork_queries.differing_calls(data, sides))

    def list_events(self) -> None:
        """List the events of fork and parent side by side, around the edits."""
        fork = self._state.data.fork
        if fork is not None:
            self._results.run_query(lambda data: fork_queries.side_by_side_events(data, fork))


def _compare_with_parent(data: ShownData) -> tuple[ParentComparison | None, str]:
    """Return the comparison and the text of the banner. Call it in a thread."""
    try:
        found = compare_with_parent(data.history)
        return found, "" if data.fork is None else fork_queries.what_if_banner(data.fork, found)
    except RefoldError as error:
        return None, error.message
