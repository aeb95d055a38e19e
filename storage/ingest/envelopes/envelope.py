"""The type `Envelope`: the record shape in which a system writes events, known by member names."""

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
"""A record's values by normalized member name (lower case, without punctuation)."""


@dataclass(frozen=True)
class StoreLayout:
    """The tables and columns of an event store, for reading them as one log."""

    table: str
    """The table's default name; its alias in the join is `e`."""
    order_columns: tuple[str, ...]
    """Columns that give the order and the position of a load; missing ones are ignored."""
    joined_tables: tuple[str, ...] = ()
    """Tables joined to the table."""
    join_sql: str = ""
    """The join's SQL, with the joined tables as {0}, {1} …"""
    joined_columns: tuple[tuple[str, str], ...] = ()
    """Columns read from the joined tables, as (alias, column)."""


@dataclass(frozen=True)
class Envelope:
    """A shape of event records, independent of the format or source that carries them.

    Member names are those of the system's documentation; they are compared without case and
    punctuation.
    """

    name: str
    required_members: tuple[str, ...]
    """Members that identify the envelope: every record has them."""
    fields: "FieldExpressions | Callable[[Sequence[Record]], FieldExpressions]"
    """Expression by event field, or a function from sampled records to it.

    `REMAINING` stands for all members that no other field uses.
    """
    order_description: str
    """What the order of the events is based on, as text."""
    matches_values: Callable[[NormalizedRecord], bool] = field(default=lambda _: True)
    """Returns whether the values of a record fit too."""
    optional_members: tuple[str, ...] = ()
    """Required members that a few records may lack."""
    exact_members: tuple[str, ...] = ()
    """Members whose names must match exactly, with case and punctuation."""
    inner_member: str = ""
    """The member that may hold another envelope; empty if none may."""
    overriding_fields: tuple[str, ...] = ()
    """Fields that win over the same fields of an inner envelope."""
    skip_condition: Expression | None = None
    """True for a record that the system marks as skipped."""
    store_layout: StoreLayout | None = None
    """The layout of the system's tables, if it stores events in a database."""
    is_newest_first: bool = False
    """Whether the system may return the newest event first; the loader then sorts by offset."""

    def may_contain(self, names: Collection[str]) -> bool:
        """Return whether a record with these member names may be in this envelope."""
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
"""All members that no other field uses."""
