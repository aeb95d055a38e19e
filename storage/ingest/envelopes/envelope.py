"""What an envelope is: the shape in which a system writes its events, known by the names in it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from storage.ingest.mapping.column_guess import plain
from storage.ingest.mapping.expressions import (
    At,
    Expression,
    First,
    Fixed,
    Header,
    Joined,
    Match,
    Record,
    Rest,
)

TOTAL = "total: the store numbers all events"
BY_PARTITION = "per partition; between partitions it is that of the source"
BY_STREAM = "per stream; between streams it is that of the source"
BY_TIME = "by timestamps only"
AS_WRITTEN = "the order of the records"

Fields = Mapping[str, Expression]
Folded = Mapping[str, Any]
"""A record by the folded names of its members."""


@dataclass(frozen=True)
class Stored:
    """How an event store's tables are read as one log."""

    table: str
    """The name that it has unless a person chose another; its rows are `e` in the join."""
    order: tuple[str, ...]
    """Columns that give the order, and from which a load goes on; those that are there are used."""
    beside: tuple[str, ...] = ()
    """Tables that are joined to it."""
    join: str = ""
    """How: SQL with the other tables as {0}, {1} …"""
    extra: tuple[tuple[str, str], ...] = ()
    """What is taken of them, as alias and column."""


@dataclass(frozen=True)
class Envelope:
    """A format of events, wherever its records come from.

    Names are those of its documentation; they are compared without case and punctuation.
    """

    name: str
    requires: tuple[str, ...]
    """Members that every record has."""
    fields: "Fields | Callable[[Sequence[Record]], Fields]"
    """By event field; a `Rest` without exceptions is what no other field takes."""
    order: str
    looks: Callable[[Folded], bool] = field(default=lambda _: True)
    """What must hold of the values, beside the names."""
    optional: tuple[str, ...] = ()
    """Those of the required members that tell the envelope, but that a record of it may lack."""
    exact: tuple[str, ...] = ()
    """Members whose names must be written just so."""
    inner: str = ""
    """A member in which another envelope may lie."""
    keeps: tuple[str, ...] = ()
    """Fields that count more than those of what lies inside."""
    skips: Expression | None = None
    """True where the system itself passes over the event."""
    stored: Stored | None = None
    """Where the system keeps them in a database."""
    newest_first: bool = False
    """It is handed out backwards, and then sorted by offset."""

    def may_hold(self, names: Collection[str]) -> bool:
        """Whether a record whose members have these names may be in it."""
        folded = {plain(name) for name in names}
        return folded.issuperset(self._required) and all(name in names for name in self.exact)

    @cached_property
    def _required(self) -> Sequence[str]:
        return [plain(name) for name in self.requires]


def at(*path: str | int) -> At:
    return At(path)


def first(*of: Expression) -> First:
    return First(of)


def joined(*of: Expression, between: str = "") -> Joined:
    return Joined(of, between)


def matched(of: Expression, pattern: str) -> Match:
    return Match(of, pattern)


def header(column: str, name: str) -> Header:
    return Header((column,), name)


def fixed(text: str) -> Fixed:
    return Fixed(text)


REST = Rest((), ())
"""What no other field takes."""
