"""A sweep as a person types it, and its outcomes as a table."""

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
    """What is to be varied, and what is asked of each fork."""

    events: str = ""
    """A condition on events; empty: the one where one stands."""
    path: str = ""
    """Of the value that is varied; empty: each event is dropped by itself."""
    values: str = ""
    """Between commas, or `5 to 25 by 5`."""
    expressions: str = ""
    """Aggregates, between commas."""

    @property
    def aggregates(self) -> Sequence[str]:
        """What is asked of each fork; raises `QueryError` where nothing is."""
        found = split_expressions(self.expressions)
        if not found:
            raise QueryError("Say what to ask of each fork, such as sum(state.total).")
        return found

    @property
    def value_list(self) -> Sequence[str]:
        """The values; raises `QueryError`."""
        spread = _SPREAD.fullmatch(self.values)
        if spread is None:
            return split_expressions(self.values)
        try:
            first, last, step = map(float, spread.groups())
        except ValueError:
            raise QueryError(f"{self.values!r} has no three numbers; write 5 to 25 by 5.") from None
        return variants.list_numbers(first, last, step)

    def validate(self) -> None:
        """Raise `QueryError` where something is missing that no event is needed to tell."""
        _ = self.aggregates
        if self.path and not self.value_list:
            raise QueryError(f"Say which values {self.path} is to have, such as 5, 10, 20.")
        if self.values and not self.path:
            raise QueryError("Say which value is varied, such as amount; without one, drop values.")

    def variants(self, workspace: Workspace, name: str, position: int) -> list[SweepVariant]:
        """The forks, from the timeline that is looked at. Raises `QueryError`."""
        self.validate()
        if self.events:
            places = EditBuilder(workspace, name).find_matching_positions(self.events)
        elif position < 0:
            raise QueryError("At the start there is no event; say which events are varied.")
        else:
            places = [position]
        if not self.path:
            return variants.build_drop_variants(workspace, name, places)
        return variants.build_value_variants(workspace, name, places, self.path, self.value_list)


class SweepTable:
    """The outcomes of a sweep, in an order that a person chooses."""

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
        """How the rows are sorted, in words."""
        way = "lowest" if self._ascending else "highest"
        return f"{way} {self.wish.aggregates[self._by]} first"

    @property
    def base_text(self) -> str:
        """What the timeline itself comes to."""
        values = map(_number, self._swept.base_values)
        told = (f"{a} = {v}" for a, v in zip(self.wish.aggregates, values, strict=True))
        return f"without any edit: {', '.join(told)}"

    def sort(self, *, other: bool) -> None:
        """By the next aggregate, or the other way round."""
        if other:
            self._by = (self._by + 1) % len(self.wish.aggregates)
        else:
            self._ascending = not self._ascending
        self.rows = self._swept.rank(aggregate_index=self._by, ascending=self._ascending)

    def heading(self) -> str:
        """The names of the columns."""
        return self._line(self.names)

    def row_text(self, number: int) -> str:
        """A row, its columns under their names."""
        return self._line(self._written[id(self.rows[number])])

    def error_text(self, number: int) -> str:
        """Why a fork came to nothing; empty where it didn't."""
        return sanitize_line(self.rows[number].error or "")

    def _line(self, cells: Sequence[str]) -> str:
        first, *rest = (shorten(c, w) for c, w in zip(cells, self._widths, strict=False))
        told = (f"{cell:>{width}}" for cell, width in zip(rest, self._widths[1:], strict=False))
        return "  ".join((f"{first:<{self._widths[0]}}", *told))


def _cells(one: "VariantOutcome") -> Sequence[str]:
    numbers = (_number(value) for value in one.values)
    return (sanitize_line(one.variant.label), *numbers, f"{one.differing_documents:,}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.15g}"
