"""Aggregates over all documents, as they stood after every event: `sum(state.balance)`.

A change of a document changes a sum by what its value became minus what it was, so the running
values of a whole history are one window over its changes. A document that isn't there adds nothing,
and so does one whose value is no number.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import duckdb

from replay.expressions import OF_STATES
from replay.history import History
from replay.rewriting import AGGREGATES, EXACT, Expression, Kind, Names, Rewriting
from storage import conditions
from storage.conditions import unanswerable
from storage.errors import QueryError

Answer = TypeVar("Answer")

_OUTSIDE = Names({}, {"offset": Kind.NUMBER})
_UNIT = 1_000_000
"""Sums of floats are made of whole millionths, which are exact and quick to add."""
_UNFIT = "more digits than whole millionths have"


@dataclass(frozen=True)
class Aggregated:
    """An expression over aggregates, as SQL."""

    text: str
    row: Expression
    """Its values of one state, and whether these are of another kind than a number."""
    parts: Mapping[str, bool]
    """What one state adds to each running sum, as SQL over the row's values; and whether that is a
    number of any size, else it is 0 or 1."""
    sql: str
    """The expression, over the columns `offset` and `r0`, `r1` … of running sums."""

    def running(self, *, millionths: bool) -> str:
        """SQL for rows with `offset`, `r0`, `r1` …: the sums after every event that changed any.

        To be asked with the parameters (projection, timeline) twice. In `millionths` it fails where a
        number doesn't fit, and is several times as fast as in 38 digits.
        """
        adds, sums = [], []
        for n, (part, number) in enumerate(self.parts.items()):
            value = (_in_millionths if millionths else _in_full)(part) if number else part
            adds.append(f"CASE WHEN state IS NULL THEN 0 ELSE {value} END AS a{n}")
            total = f'sum(d{n}) OVER (ORDER BY "offset")'
            if number and millionths:
                total = f"CAST({total} AS DECIMAL(18, 0)) * CAST({1 / _UNIT:f} AS DECIMAL(7, 6))"
            sums.append(f"{total} AS r{n}")
        steps = ", ".join(
            f'a{n} - lag(a{n}, 1, 0) OVER (PARTITION BY bucket, key ORDER BY "offset") AS d{n}'
            for n in range(len(self.parts))
        )
        # Most changes leave most sums as they are; only the first is kept without having changed any.
        stepped = " OR ".join(f"d{n} <> 0" for n in range(len(self.parts)))
        return (
            f'SELECT "offset", {", ".join(sums)} FROM (SELECT "offset", {steps} FROM'
            f' (SELECT "offset", bucket, key, {", ".join(adds)} FROM'
            f' (SELECT "offset", bucket, key, state{self.row.values} FROM history'
            " WHERE projection = ? AND timeline = ?)))"
            f' WHERE {stepped} OR "offset" = (SELECT min(born) FROM documents'
            " WHERE projection = ? AND timeline = ?)"
        )


def _in_millionths(part: str) -> str:
    double = f"TRY_CAST({part} AS DOUBLE)"
    whole = f"round({double} * {_UNIT})"
    exact = f"{whole} / {_UNIT} = {double} AND abs({double}) < {2**53 // _UNIT}"
    return (
        f"CASE WHEN {double} IS NULL THEN 0 WHEN {exact} THEN CAST({whole} AS BIGINT)"
        f" ELSE error('{_UNFIT}') END"
    )


def _in_full(part: str) -> str:
    return f"coalesce(TRY_CAST({part} AS {EXACT}), 0)"


def asked(
    history: History, wanted: Aggregated, ask: Callable[[str, Sequence[Any]], Answer]
) -> Answer:
    """What `ask` makes of SQL for the running sums and its parameters; scans.

    Raises `QueryError` where there is no answer.
    """
    names = [history.folded.number, history.folded.timeline] * 2
    if not history.long_numbers:
        # Where a number doesn't fit after all, all are added in full.
        with contextlib.suppress(duckdb.DataError, duckdb.ProgrammingError):
            return ask(wanted.running(millionths=True), names)
    try:
        return ask(wanted.running(millionths=False), names)
    except (duckdb.DataError, duckdb.ProgrammingError) as error:
        raise unanswerable(wanted.text, "all documents", error) from error


def is_aggregated(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Whether an expression asks for an aggregate over all documents; raises `QueryError`."""
    return _calls_one(conditions.parsed(connection, text, "states"))


def condition(
    connection: duckdb.DuckDBPyConnection, text: str, *, long_numbers: bool
) -> Aggregated:
    """A condition over aggregates; raises `QueryError` for what isn't one."""
    building = _Building(text, long_numbers, "condition")
    tree = conditions.parsed(connection, text, "states")
    return building.finished(building.outside.truth(tree))


def value(connection: duckdb.DuckDBPyConnection, text: str, *, long_numbers: bool) -> Aggregated:
    """A number made of aggregates; raises `QueryError` for what isn't one."""
    building = _Building(text, long_numbers, "expression")
    tree = conditions.parsed(connection, text, "states")
    return building.finished(building.outside.value(tree, Kind.NUMBER))


def turned(history: History, text: str, *, to: bool) -> list[tuple[int, int | None]]:
    """Events with which a condition became `to`, each with the one with which it turned back.

    Before the first event it counts as false. Scans. Raises `QueryError` where it is no condition
    over aggregates, or can't be answered.
    """
    with history.workspace.reading() as connection:
        wanted = condition(connection, text, long_numbers=history.long_numbers)

        def ask(running: str, names: Sequence[Any]) -> list[tuple[int, int | None]]:
            return connection.execute(
                'WITH compared AS (SELECT "offset", holds, lag(holds, 1, false) OVER'
                f' (ORDER BY "offset") AS held FROM (SELECT "offset", {wanted.sql} AS holds FROM'
                f' ({running}))) SELECT "offset", back FROM (SELECT *, lead("offset") OVER'
                ' (ORDER BY "offset") AS back FROM compared WHERE holds <> held)'
                f' WHERE holds = {to} ORDER BY "offset"',
                names,
            ).fetchall()

        return asked(history, wanted, ask)


@dataclass
class _Building:
    text: str
    long_numbers: bool
    what: str
    parts: dict[str, bool] = field(default_factory=dict)
    """See `Aggregated.parts`."""

    def __post_init__(self) -> None:
        self.inside = Rewriting(self.text, OF_STATES, self.long_numbers, self.what)
        self.outside = Rewriting(self.text, _OUTSIDE, self.long_numbers, self.what, self._aggregate)

    def finished(self, sql: str) -> Aggregated:
        if not self.parts:
            raise QueryError(
                f"The {self.what} {self.text!r} asks for no aggregate; there are"
                " sum(…), avg(…) and count(…)."
            )
        return Aggregated(self.text, self.inside.finished("true"), self.parts, sql)

    def _aggregate(self, name: str, arguments: Sequence[dict[str, Any]]) -> str:
        if name == "count_star" or not arguments:
            return self._column("1")
        if name == "count":
            return self._column(f"CAST({self._there(arguments[0])} AS INTEGER)")
        number = self.inside.digits(arguments[0])
        total = self._column(number, number=True)
        if name == "sum":
            return total
        count = self._column(f"CAST(TRY_CAST({number} AS DOUBLE) IS NOT NULL AS INTEGER)")
        return f"(CAST({total} AS DOUBLE) / nullif({count}, 0))"

    def _there(self, node: dict[str, Any]) -> str:
        """Whether a state is counted: `count(state.paid)` and `count(state.paid > 0)`."""
        if self.inside.kind(node) is Kind.VALUE:
            return self.inside.is_null(node, absent=False)
        return self.inside.truth(node)

    def _column(self, part: str, *, number: bool = False) -> str:
        self.parts.setdefault(part, number)
        return f"r{list(self.parts).index(part)}"


def _calls_one(node: Any) -> bool:
    if isinstance(node, dict):
        if node.get("class") == "FUNCTION" and node.get("function_name") in AGGREGATES:
            return True
        return any(_calls_one(part) for part in node.values())
    return isinstance(node, list) and any(map(_calls_one, node))
