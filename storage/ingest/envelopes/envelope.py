"""What an envelope is: the shape in which a system writes its events, known by the names in it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from storage.ingest.mapping.column_guess import normalize_name
from storage.ingest.mapping.expressions import (
    Expression,
    FirstPresent,
    FixedText,
    HeaderValue,
    JoinedText,
    PathValue,
    Record,
    RegexGroup,
    RemainingMembers,
)

TOTAL_ORDER = "total: the store numbers all events"
ORDER_BY_PARTITION = "per partition; between partitions it is that of the source"
ORDER_BY_STREAM = "per stream; between streams it is that of the source"
ORDER_BY_TIME = "by timestamps only"
RECORD_ORDER = "the order of the records"

FieldExpressions = Mapping[str, Expression]
NormalizedRecord = Mapping[str, Any]
"""A record by the folded names of its members."""


@dataclass(frozen=True)
class StoreLayout:
    """How an event store's tables are read as one log."""

    table: str
    """The name that it has unless a person chose another; its rows are `e` in the join."""
    order_columns: tuple[str, ...]
    """Columns that give the order, and from which a load goes on; those that are there are used."""
    joined_tables: tuple[str, ...] = ()
    """Tables that are joined to it."""
    join_sql: str = ""
    """How: SQL with the other tables as {0}, {1} …"""
    joined_columns: tuple[tuple[str, str], ...] = ()
    """What is taken of them, as alias and column."""


@dataclass(frozen=True)
class Envelope:
    """A format of events, wherever its records come from.

    Names are those of its documentation; they are compared without case and punctuation.
    """

    name: str
    required_members: tuple[str, ...]
    """Members that every record has."""
    fields: "FieldExpressions | Callable[[Sequence[Record]], FieldExpressions]"
    """By event field; a `RemainingMembers` without exceptions is what no other field takes."""
    order_description: str
    matches_values: Callable[[NormalizedRecord], bool] = field(default=lambda _: True)
    """What must hold of the values, beside the names."""
    optional_members: tuple[str, ...] = ()
    """Those of the required members that tell the envelope, but that a record of it may lack."""
    exact_members: tuple[str, ...] = ()
    """Members whose names must be written just so."""
    inner_member: str = ""
    """A member in which another envelope may lie."""
    overriding_fields: tuple[str, ...] = ()
    """Fields that count more than those of what lies inside."""
    skip_condition: Expression | None = None
    """True where the system itself passes over the event."""
    store_layout: StoreLayout | None = None
    """Where the system keeps them in a database."""
    is_newest_first: bool = False
    """It is handed out backwards, and then sorted by offset."""

    def may_contain(self, names: Collection[str]) -> bool:
        """Whether a record whose members have these names may be in it."""
        normalized = {normalize_name(name) for name in names}
        return normalized.issuperset(self._normalized_members) and all(
            name in names for name in self.exact_members
        )

    @cached_property
    def _normalized_members(self) -> Sequence[str]:
        return [normalize_name(name) for name in self.required_members]


def path_value(*path: str | int) -> PathValue:
    return PathValue(path)


def first_present(*operands: Expression) -> FirstPresent:
    return FirstPresent(operands)


def join_texts(*operands: Expression, separator: str = "") -> JoinedText:
    return JoinedText(operands, separator)


def match_group(operand: Expression, pattern: str) -> RegexGroup:
    return RegexGroup(operand, pattern)


def header_value(column: str, name: str) -> HeaderValue:
    return HeaderValue((column,), name)


def fixed_text(text: str) -> FixedText:
    return FixedText(text)


REMAINING = RemainingMembers((), ())
"""What no other field takes."""
