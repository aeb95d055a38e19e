"""A sweep as it is typed in the form, and its results as a sortable table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.forks.edit_builder import EditBuilder
from replay.forks.sweep import variants
from replay.forks.sweep.variants import SweepVariant
from storage.errors import QueryError
from storage.workspace.workspace import Workspace
from tui.results.projection_queries import split_expressions
from tui.text.sanitize import sanitize_line, shorten

if TYPE_CHECKING:
    from replay.forks.sweep.fork_sweep import SweepResult, VariantOutcome

_SPREAD = re.compile(r"\s*(\S+)\s+to\s+(\S+)\s+by\s+(\S+)\s*")
_WIDEST = 48


@dataclass(frozen=True)
class SweepSpec:
    """The fields of the form: what varies, and what is computed for each fork."""

    events: str = ""
    """A condition on events; empty: the event at the position."""
    path: str = ""
    """Path of the value that varies; empty: each fork drops one event."""
    values: str = ""
    """Values separated by commas, or `5 to 25 by 5`."""
    expressions: str = ""
    """Aggregates, separated by commas."""

    @property
    def aggregates(self) -> Sequence[str]:
        """The aggregates to compute for each fork; raises `QueryError` if there are none."""
        found = split_expressions(self.expressions)
        if not found:
            raise QueryError("Nothing to compute. Enter an aggregate, such as sum(state.total).")
        return found

    @property
    def value_list(self) -> Sequence[str]:
        """The values to try; raises `QueryError` if a range is not made of three numbers."""
        spread = _SPREAD.fullmatch(self.values)
        if spread is None:
            return split_expressions(self.values)
        try:
            first, last, step = map(float, spread.groups())
        except ValueError:
            raise QueryError(
                f"Invalid range {self.values!r}. Write three numbers: 5 to 25 by 5."
            ) from None
        return variants.list_numbers(first, last, step)

    def validate(self) -> None:
        """Raise `QueryError` if a field is missing; reads no events."""
        _ = self.aggregates
        if self.path and not self.value_list:
            raise QueryError(f"No values for {self.path}. Enter some, such as 5, 10, 20.")
        if self.values and not self.path:
            raise QueryError(
                "No field for the values. Enter one, such as amount, or clear the values."
            )

    def variants(self, workspace: Workspace, name: str, position: int) -> list[SweepVariant]:
        """Return the forks to fold, based on the timeline shown. Raises `QueryError` if none can be built."""
        self.validate()
        if self.events:
            places = EditBuilder(workspace, name).find_matching_positions(self.events)
        elif position < 0:
            raise QueryError("There is no event at the start. Enter a condition on events.")
        else:
            places = [position]
        if not self.path:
            return variants.build_drop_variants(workspace, name, places)
        return variants.build_value_variants(workspace, name, places, self.path, self.value_list)


class SweepTable:
    """The results of a sweep, sorted by an aggregate."""

    def __init__(self, wish: SweepSpec, swept: "SweepResult") -> None:
        self.wish = wish
        self._swept = swept
        self._by = 0
        self._ascending = False
        self._written = {id(one): _cells(one) for one in swept.outcomes}
        self.names = ("fork", *wish.aggregates, "documents")
        columns = list(zip(*self._written.values(), strict=True))
        self._widths = [
            min(max(len(name), *map(len, column)), _WIDEST)
            for name, column in zip(self.names, columns, strict=False)
        ]
        self.rows = swept.rank()

    @property
    def order_text(self) -> str:
        """How the rows are sorted, such as `highest sum(state.total) first`."""
        ranked_first = "lowest" if self._ascending else "highest"
        return f"{ranked_first} {self.wish.aggregates[self._by]} first"

    @property
    def base_text(self) -> str:
        """The aggregates of the timeline itself."""
        values = map(_number, self._swept.base_values)
        pairs = (f"{a} = {v}" for a, v in zip(self.wish.aggregates, values, strict=True))
        return f"without edits: {', '.join(pairs)}"

    def sort(self, *, other: bool) -> None:
        """Sort by the next aggregate (`other`), or reverse the order."""
        if other:
            self._by = (self._by + 1) % len(self.wish.aggregates)
        else:
            self._ascending = not self._ascending
        self.rows = self._swept.rank(aggregate_index=self._by, ascending=self._ascending)

    def heading(self) -> str:
        """Return the line of column names."""
        return self._line(self.names)

    def row_text(self, number: int) -> str:
        """Return a row, aligned with the column names."""
        return self._line(self._written[id(self.rows[number])])

    def error_text(self, number: int) -> str:
        """Return why the fork in a row has no results; empty if it has results."""
        return sanitize_line(self.rows[number].error or "")

    def _line(self, cells: Sequence[str]) -> str:
        first, *rest = (shorten(c, w) for c, w in zip(cells, self._widths, strict=False))
        numbers = (f"{cell:>{width}}" for cell, width in zip(rest, self._widths[1:], strict=False))
        return "  ".join((f"{first:<{self._widths[0]}}", *numbers))


def _cells(one: "VariantOutcome") -> Sequence[str]:
    numbers = (_number(value) for value in one.values)
    return (sanitize_line(one.variant.label), *numbers, f"{one.differing_documents:,}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.15g}"
