"""Describes a table of the workspace: columns, compression, and what removal does with each column."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class OnRemoval(Enum):
    """What `refold remove` does with a row whose column contains a removed value."""

    EMPTY_TABLE = "empty"
    """Delete every row of the table, because folding writes the rows again."""
    DELETE_ROW = "delete"
    """Delete the row."""
    CLEAR = "clear"
    """Keep the row and empty the column."""
    COUNT = "count"
    """Keep the row, and report the number of such rows."""


@dataclass(frozen=True)
class TableSchema:
    """A table of the workspace: its columns in order, as (name, DuckDB type)."""

    name: str
    columns: tuple[tuple[str, str], ...]
    values: Mapping[str, OnRemoval] = field(hash=False)
    """The columns that can hold a value taken from an event's data or from a call."""
    without_values: frozenset[str]
    """All other columns: numbers that refold assigns, hashes, names that a person chose."""
    id_columns: frozenset[str] = frozenset()
    """Columns of ids, stored uncompressed: ids hardly repeat, and analysing them took a fifth of a load."""
    similar_text_columns: frozenset[str] = frozenset()
    """Columns whose texts resemble the previous row's: zstd takes half the time to write and a third of
    the space of DuckDB's own choice."""
    double_columns: frozenset[str] = frozenset()
    """Columns of doubles, stored with alp without trying other compressions."""

    def __post_init__(self) -> None:
        """Raise `ValueError` unless each column declares whether it can contain values.

        Removal would miss a new column without a declaration.
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
        """Return the columns for which removal does this, in their order."""
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
    """Declare that these columns can contain values, and that removal empties the whole table."""
    return dict.fromkeys(columns, OnRemoval.EMPTY_TABLE)


def deleted(*columns: str) -> dict[str, OnRemoval]:
    """Declare that removal deletes a row in which one of these columns contains a removed value."""
    return dict.fromkeys(columns, OnRemoval.DELETE_ROW)


def cleared(*columns: str) -> dict[str, OnRemoval]:
    """Declare that removal empties these columns in rows that contain a removed value."""
    return dict.fromkeys(columns, OnRemoval.CLEAR)


def counted(*columns: str) -> dict[str, OnRemoval]:
    """Declare that removal only counts the rows in which one of these columns contains a removed value."""
    return dict.fromkeys(columns, OnRemoval.COUNT)
