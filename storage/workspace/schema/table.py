"""A table of the workspace, and how its columns are packed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class OnRemoval(Enum):
    """What `refold remove` does with a row whose column repeats a removed value."""

    EMPTY_TABLE = "empty"
    """Every row of the table is deleted, whatever it holds: folding writes the rows again."""
    DELETE_ROW = "delete"
    CLEAR = "clear"
    """The row stays, the column is emptied."""
    COUNT = "count"
    """The row stays as it is, and the person is told how many such rows there are."""


@dataclass(frozen=True)
class TableSchema:
    """A table of the workspace: its columns in order, as (name, DuckDB type)."""

    name: str
    columns: tuple[tuple[str, str], ...]
    values: Mapping[str, OnRemoval] = field(hash=False)
    """The columns that can hold a value taken from an event's data or from a call."""
    without_values: frozenset[str]
    """All other columns: numbers that refold gives, hashes, names that a person chose."""
    id_columns: frozenset[str] = frozenset()
    """Columns of ids, which hardly repeat: looking for what to compress is a fifth of a load."""
    similar_text_columns: frozenset[str] = frozenset()
    """Columns of texts each of which is much like the one before: zstd takes half the time to write
    and a third of the room of what DuckDB would choose."""
    double_columns: frozenset[str] = frozenset()
    """Columns of doubles, for which nothing but alp needs to be tried."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if a column doesn't declare whether it can hold values.

        A new column without a declaration would escape removal.
        """
        names = [name for name, _ in self.columns]
        undeclared = set(names) ^ {*self.values, *self.without_values}
        doubled = set(self.values) & self.without_values
        if undeclared or doubled:
            raise ValueError(
                f"Table {self.name}: declare each column once, in values or in without_values;"
                f" wrong: {', '.join(sorted(undeclared | doubled))}."
            )
        if OnRemoval.EMPTY_TABLE in self.values.values() and not self.is_emptied:
            raise ValueError(f"Table {self.name}: EMPTY_TABLE is for all its columns or none.")

    @property
    def is_emptied(self) -> bool:
        """Whether `refold remove` deletes every row."""
        return bool(self.values) and set(self.values.values()) == {OnRemoval.EMPTY_TABLE}

    def columns_to(self, on_removal: OnRemoval) -> tuple[str, ...]:
        """The columns for which removal does this, in their order."""
        return tuple(name for name, _ in self.columns if self.values.get(name) is on_removal)

    @property
    def ddl(self) -> str:
        columns = ", ".join(
            f'"{name}" {kind}{self._compression(name)}' for name, kind in self.columns
        )
        return f'CREATE TABLE "{self.name}" ({columns})'

    def _compression(self, name: str) -> str:
        if name in self.id_columns:
            return " USING COMPRESSION uncompressed"
        if name in self.double_columns:
            return " USING COMPRESSION alp"
        return " USING COMPRESSION zstd" if name in self.similar_text_columns else ""


def emptied(*columns: str) -> dict[str, OnRemoval]:
    """Declare that these columns can hold values, and that removal empties the whole table."""
    return dict.fromkeys(columns, OnRemoval.EMPTY_TABLE)


def deleted(*columns: str) -> dict[str, OnRemoval]:
    """Declare that removal deletes a row in which one of these columns repeats a removed value."""
    return dict.fromkeys(columns, OnRemoval.DELETE_ROW)


def cleared(*columns: str) -> dict[str, OnRemoval]:
    """Declare that removal empties these columns where one of them repeats a removed value."""
    return dict.fromkeys(columns, OnRemoval.CLEAR)


def counted(*columns: str) -> dict[str, OnRemoval]:
    """Declare that removal only counts the rows in which one of these columns repeats a value."""
    return dict.fromkeys(columns, OnRemoval.COUNT)
