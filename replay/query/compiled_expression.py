"""A compiled expression: SQL over a row, and the columns of values that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from replay.document import paths
from replay.document.paths import DocumentPath
from replay.query.scope import ColumnPath
from storage.quoting import quote_literal

DOUBLE_SQL = "TRY_CAST({} AS DOUBLE)"
"""SQL for a number as a double, from its JSON text."""


@dataclass(frozen=True)
class CompiledExpression:
    """An expression, as SQL over a row that has the columns of its names."""

    text: str
    """The expression as the user typed it."""
    sql: str
    """Over the row and the columns of `columns_sql`; a condition is true or false, never NULL."""
    type_mismatch_sql: str
    """Whether a value is present, but has another type than it is compared as."""
    value_columns: Mapping[ColumnPath, str]
    """The paths that it names, each with the column for its JSON text; NULL if there is no value."""
    derived_columns: Mapping[str, str]
    """Further columns by name, as SQL over `value_columns`."""
    length_paths: tuple[ColumnPath, ...]
    """The paths whose length it asks for."""

    @property
    def columns_sql(self) -> str:
        """SQL for its columns; it extracts each value from JSON once."""
        return _select_columns_sql({**self._value_columns_sql(), **self.derived_columns})

    def columns_sql_from_numbers(self, numbers: Mapping[DocumentPath, str]) -> str | None:
        """Return the same SQL over number columns; None if the expression names any other value."""
        if any(column != "state" or path not in numbers for column, path in self.value_columns):
            return None
        own = {name: numbers[path] for (_, path), name in self.value_columns.items()}
        texts = {name: f"CAST({number} AS VARCHAR)" for name, number in own.items()}
        doubles = {DOUBLE_SQL.format(name): number for name, number in own.items()}
        return _select_columns_sql(
            {**texts, **{name: doubles.get(sql, sql) for name, sql in self.derived_columns.items()}}
        )

    def _value_columns_sql(self) -> Mapping[str, str]:
        """Return SQL for the value at each path; all paths into one JSON text are extracted at once."""
        columns: dict[str, list[DocumentPath]] = {}
        for column, path in self.value_columns:
            columns.setdefault(column, []).append(path)
        found = {}
        for (column, path), name in self.value_columns.items():
            paths_of_column = columns[column]
            pointers = ", ".join(map(pointer_sql, paths_of_column))
            if len(paths_of_column) == 1:
                found[name] = f"CAST(json_extract({column}, {pointers}) AS VARCHAR)"
            else:
                index = paths_of_column.index(path) + 1
                found[name] = f"CAST(json_extract({column}, [{pointers}])[{index}] AS VARCHAR)"
        return found


def _select_columns_sql(sql_by_name: Mapping[str, str]) -> str:
    return "".join(f", {sql} AS {name}" for name, sql in sql_by_name.items())


def pointer_sql(path: DocumentPath) -> str:
    """Return a path as the SQL literal of a JSON pointer."""
    return quote_literal(paths.format_pointer(path))
