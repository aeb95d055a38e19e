"""The SQL of a fork's tables: views over the tables of the file, with the fork's edits applied.

A view returns the parent's unchanged rows at their positions on the fork, and the fork's own rows.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import duckdb

from storage.coordinates.fold_scope import FoldScope
from storage.quoting import quote_literal
from storage.timelines.edits import EVENT_FIELDS
from storage.timelines.overlay import ForkOverlay
from storage.workspace import schema
from storage.workspace.workspace_file import WorkspaceFile

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.timelines.fork_store import Fork

_MAX_LITERALS = 200
"""Most keys or positions that a query lists as literals; a query with more joins a table."""
_MAX_STRETCHES = 12
"""Most stretches of a moved table that are selected one by one, which lets DuckDB use zone maps."""

_DOCUMENT_TABLES = ("history", "parts", "routes", "turns")
_HANDLING_TABLES = ("failures", "decisions", "printed", "reads")
"""Tables whose key is NULL if the projection's `key` function was running."""
_EVENT_TABLES = ("upcasts",)


@dataclass(frozen=True)
class FoldBasis:
    """How a fold on a fork differs from the fold on the parent that it reuses."""

    projection: int
    timeline: str
    base_projection: int
    """The projection whose fold on the parent is reused."""
    first_changed_position: int
    """The first position on the fork from which rows may differ."""
    affects_all_documents: bool
    """Whether every document may differ from there on, and not only the refolded ones."""
    refolded_key_count: int
    """How many documents were folded again."""
    removed_ordinals: Sequence[int]
    """Ordinals of the parent's documents that are created at another position or never on the fork."""
    inserted_before_ordinals: Sequence[int]
    """For each document that is created elsewhere, the parent's ordinal that it comes before."""
    has_birth_list: bool
    """Whether the two lists are known; if not, all documents created from the first changed position
    on are the fork's own."""


class ForkViews:
    """Builds the SQL of a fork's tables over the tables of the file."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        main_workspace: WorkspaceFile,
        fork: "Fork",
        overlay: ForkOverlay,
        parent_views: "ForkViews | None",
    ) -> None:
        """`parent_views` are those of the parent; None if the parent is the log."""
        self._connection = connection
        self._main_workspace = main_workspace
        self._fork = fork
        self._overlay = overlay
        self._parent_views = parent_views
        self.depth: int = 0 if parent_views is None else parent_views.depth + 1
        """The number of forks between this one and the log."""
        self._fold_bases = self._read_fold_bases()

    def install(self) -> None:
        """Create the views that replace the tables on this connection."""
        for name in (
            "events",
            "calls",
            "documents",
            *_DOCUMENT_TABLES,
            *_HANDLING_TABLES,
            *_EVENT_TABLES,
        ):
            self._connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {self.relation_sql(name)}"
            )

    def relation_sql(self, name: str) -> str:
        """Return the SQL of a table as it is on the fork."""
        if name == "events":
            return f"({self._events_sql()})"
        if name == "calls":
            return f"({self._calls_sql()})"
        rows = [f"SELECT {_column_list(name)} FROM {self._file_table(name)}"]
        for number, basis in enumerate(self._fold_bases):
            rows += self._inherited_rows(name, basis, number)
        return f"({' UNION ALL '.join(rows)})"

    def _file_table(self, name: str) -> str:
        return self._main_workspace.table_sql(self._connection, name)

    def _parent_relation(self, name: str) -> str:
        return (
            self._file_table(name)
            if self._parent_views is None
            else self._parent_views.relation_sql(name)
        )

    def _events_sql(self) -> str:
        overlay = self._overlay
        visible = self._not_in('"offset"', overlay.hidden_parent_positions, "hidden")
        names = [name for name, _ in schema.EVENTS.columns]
        rows = self._moved_rows(names, self._parent_relation("events"), visible)
        if overlay.own_events:
            own = self._register_table("own", lambda: _own_events_table(overlay))
            rows.append(f"SELECT {', '.join(map(_quote_column, names))} FROM {own}")
        return " UNION ALL ".join(rows)

    def _calls_sql(self) -> str:
        names = [name for name, _ in schema.CALLS.columns]
        parent_relation = self._parent_relation("calls")
        rows = self._moved_rows(names, parent_relation, "true", max_stretches=1)
        unassigned = (
            f'SELECT {", ".join(map(_quote_column, names))} FROM {parent_relation} WHERE "offset"'
            " IS NULL"
        )
        return " UNION ALL ".join([*rows, unassigned])

    def _inherited_rows(self, name: str, basis: FoldBasis, number: int) -> list[str]:
        """Return SQL for the rows that a fold reuses from the fold on the parent."""
        fold_condition = self._base_scope(basis).condition
        names = [column for column, _ in schema.TABLES_BY_NAME[name].columns]
        column_sql = {
            "projection": str(int(basis.projection)),
            "timeline": quote_literal(basis.timeline),
        }
        if name == "parts":
            names.append("rowid")
            # A row that several timelines share needs a different rowid on each.
            column_sql["rowid"] = f"rowid + {(number << 40) + (1 << 48 + self.depth)}"
        if name == "documents":
            return [self._documents_sql(names, basis, fold_condition, column_sql)]
        unchanged = self._unchanged_condition(name, basis)
        return self._moved_rows(
            names,
            self._parent_relation(name),
            f"{fold_condition} AND {unchanged}",
            column_sql,
            1 if name != "history" else None,
        )

    def _unchanged_condition(self, name: str, basis: FoldBasis) -> str:
        """Return the SQL condition for rows of the parent's fold that are the same on the fork."""
        since = self._overlay.first_parent_position_from(basis.first_changed_position)
        early = f'"offset" < {int(since)}'
        if basis.affects_all_documents:
            return early
        if name in _EVENT_TABLES:
            return f"({early} OR {self._unreached_events_condition(basis, since)})"
        return f"({early} OR {self._not_refolded_condition(name, basis)})"

    def _refolded_keys_sql(self, basis: FoldBasis) -> str:
        """Return SQL for the keys of the documents that were folded again."""
        scope = FoldScope(basis.projection, basis.timeline)
        return f"SELECT key FROM {self._file_table('touched')} WHERE {scope.condition}"

    def _base_scope(self, basis: FoldBasis) -> FoldScope:
        return FoldScope(basis.base_projection, self._fork.parent)

    def _not_refolded_condition(self, name: str, basis: FoldBasis) -> str:
        keys_sql = self._refolded_keys_sql(basis)
        if basis.refolded_key_count <= _MAX_LITERALS:
            found = self._connection.execute(keys_sql).fetchall()
            keys = ", ".join(quote_literal(key) for (key,) in found) or "NULL"
            touched = f"coalesce(key IN ({keys}), false)"
        else:
            touched = f"coalesce(key IN ({keys_sql}), false)"
        if name not in _HANDLING_TABLES:
            return f"(NOT {touched})"
        edited = self._not_in('"offset"', self._overlay.hidden_parent_positions, "hidden")
        return f"((NOT {touched}) AND (key IS NOT NULL OR {edited}))"

    def _unreached_events_condition(self, basis: FoldBasis, since: int) -> str:
        """Return the SQL condition for events that no refolded document received."""
        touched = self._refolded_keys_sql(basis)
        reached = (
            f'SELECT "offset" FROM {self._parent_relation("events")} WHERE "offset" >= {int(since)}'
            f' AND stream IN ({touched}) UNION ALL SELECT "offset" FROM {self._parent_relation("routes")}'
            f" WHERE {self._base_scope(basis).condition} AND key IN ({touched})"
        )
        edited = self._not_in('"offset"', self._overlay.hidden_parent_positions, "hidden")
        return f'("offset" NOT IN ({reached}) AND {edited})'

    def _documents_sql(
        self,
        names: Sequence[str],
        basis: FoldBasis,
        fold_condition: str,
        column_sql: Mapping[str, str],
    ) -> str:
        """Return SQL for the parent's documents with their ordinals on the fork."""
        overlay = self._overlay
        born = self._shifted_column("born")
        unchanged = self._not_in("ordinal", basis.removed_ordinals, f"removed_{basis.projection}")
        if not basis.has_birth_list:
            first = overlay.first_parent_position_from(basis.first_changed_position)
            unchanged = f"born < {int(first)}"
        steps = [(ordinal, -1) for ordinal in basis.removed_ordinals]
        # A document inserted before an ordinal increments that ordinal and all later ones.
        steps += [(ordinal - 1, 1) for ordinal in basis.inserted_before_ordinals]
        written = {
            **column_sql,
            "born": born,
            "ordinal": f"ordinal + {step_function_sql('ordinal', steps)}",
        }
        columns = ", ".join(f'{written.get(n, _quote_column(n))} AS "{n}"' for n in names)
        return (
            f"SELECT {columns} FROM {self._parent_relation('documents')}"
            f" WHERE {fold_condition} AND {unchanged}"
        )

    def _moved_rows(
        self,
        names: Sequence[str],
        parent_relation: str,
        condition: str,
        column_sql: Mapping[str, str] | None = None,
        max_stretches: int | None = None,
    ) -> list[str]:
        """Return SQL for the parent's rows at their positions on the fork, a query for each stretch."""
        overlay, column_sql = self._overlay, column_sql or {}
        segments = overlay.segments()

        def selected(offset: str, further: str) -> str:
            written = {"offset": offset, **column_sql}
            columns = ", ".join(f'{written.get(n, _quote_column(n))} AS "{n}"' for n in names)
            return f"SELECT {columns} FROM {parent_relation} WHERE {further}{condition}"

        if not overlay.insert_anchors or all(shift == 0 for _, _, shift in segments):
            return [selected('"offset"', "")]
        if len(segments) > (_MAX_STRETCHES if max_stretches is None else max_stretches):
            return [selected(self._shifted_column('"offset"'), "")]
        return [
            selected(f'"offset" + {shift}', f'"offset" BETWEEN {first} AND {last} AND ')
            for first, last, shift in segments
        ]

    def _shifted_column(self, column: str) -> str:
        """Return SQL that translates a parent's position in a column to the position on the fork."""
        anchors = self._overlay.insert_anchors
        return f"{column} + {step_function_sql(column, [(anchor, 1) for anchor in anchors])}"

    def _not_in(self, column: str, values: Sequence[int], name: str) -> str:
        if not values:
            return "true"
        if len(values) <= _MAX_LITERALS:
            return f"{column} NOT IN ({', '.join(str(int(place)) for place in values)})"
        listed = self._register_table(name, lambda: _numbers_table(values))
        return f"{column} NOT IN (SELECT place FROM {listed})"

    def _read_fold_bases(self) -> list[FoldBasis]:
        rows = self._connection.execute(
            "SELECT projection, timeline, base, since, everything, keys, births FROM"
            f" {self._file_table('forked')} WHERE timeline = ?",
            [self._fork.name],
        ).fetchall()
        return [_fold_basis_of_row(*row) for row in rows]

    def _register_table(self, name: str, make: "Callable[[], pa.Table]") -> str:
        """Register an Arrow table on this connection under a name unique to this timeline; return it."""
        full = f"seen_{self.depth}_{name}"
        self._connection.register(full, make())
        return full


def _fold_basis_of_row(
    projection: int,
    timeline: str,
    base_projection: int,
    first_changed_position: int,
    affects_all_documents: bool,
    refolded_key_count: int,
    births: str | None,
) -> FoldBasis:
    listed = {"removed": [], "before": []} if births is None else json.loads(births)
    return FoldBasis(
        projection,
        timeline,
        base_projection,
        first_changed_position,
        affects_all_documents,
        refolded_key_count,
        listed["removed"],
        listed["before"],
        births is not None,
    )


def step_function_sql(column: str, steps: Iterable[tuple[int, int]]) -> str:
    """Return SQL for the sum of all steps whose threshold is below a number: `(900, 1)` adds 1 from 901 on."""
    by_threshold: dict[int, int] = {}
    for threshold, step in steps:
        by_threshold[threshold] = by_threshold.get(threshold, 0) + step
    thresholds = sorted(by_threshold)
    sums = [0, *accumulate(by_threshold[threshold] for threshold in thresholds)]

    def between(low: int, high: int) -> str:
        if low == high:
            return str(sums[low])
        middle = (low + high) // 2
        return (
            f"CASE WHEN {column} <= {thresholds[middle]} THEN {between(low, middle)}"
            f" ELSE {between(middle + 1, high)} END"
        )

    return f"({between(0, len(thresholds))})"


def _column_list(name: str) -> str:
    columns = [_quote_column(column) for column, _ in schema.TABLES_BY_NAME[name].columns]
    # Large documents are assembled by the rowid of their parts.
    return ", ".join([*columns, *(["rowid AS rowid"] if name == "parts" else [])])


def _quote_column(name: str) -> str:
    return f'"{name}"'


def _numbers_table(numbers: Sequence[int]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - few forks need it

    return pa.table({"place": pa.array(numbers, pa.int64())})


def _own_events_table(overlay: ForkOverlay) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - only a fork with own events needs Arrow

    own_events = overlay.own_events
    columns = {name: [getattr(one.event, name) for one in own_events] for name in EVENT_FIELDS}
    kinds = {"time": pa.timestamp("us", "UTC"), "revision": pa.int64()}
    table = {n: pa.array(v, kinds.get(n, pa.string())) for n, v in columns.items()}
    empty = {"source": pa.int32(), "line": pa.int64(), "source_position": pa.string()}
    table |= {name: pa.nulls(len(own_events), kind) for name, kind in empty.items()}
    table["offset"] = pa.array([one.position for one in own_events], pa.int64())
    return pa.table(table)
