"""A table of the workspace, and how its columns are packed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of the workspace: its columns in order, as (name, DuckDB type)."""

    name: str
    columns: tuple[tuple[str, str], ...]
    ids: frozenset[str] = frozenset()
    """Columns of ids, which hardly repeat: looking for what to compress is a fifth of a load."""
    alike: frozenset[str] = frozenset()
    """Columns of texts each of which is much like the one before: zstd takes half the time to write
    and a third of the room of what DuckDB would choose."""
    numbers: frozenset[str] = frozenset()
    """Columns of doubles, for which nothing but alp needs to be tried."""

    @property
    def ddl(self) -> str:
        columns = ", ".join(
            f'"{name}" {kind}{self._compression(name)}' for name, kind in self.columns
        )
        return f'CREATE TABLE "{self.name}" ({columns})'

    def _compression(self, name: str) -> str:
        if name in self.ids:
            return " USING COMPRESSION uncompressed"
        if name in self.numbers:
            return " USING COMPRESSION alp"
        return " USING COMPRESSION zstd" if name in self.alike else ""
