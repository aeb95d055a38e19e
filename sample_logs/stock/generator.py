"""Writes the `stock` log: one table's changes as change data capture delivers them.

The rule this module owns: the source counts (lsn, time and revision grow in its order), delivery
errs exactly twice, about the middle. One change is delivered a second time, the same line; one
change of a sku comes after a newer one of it. A log of less than `_ROOM` events has no room for
them. Memory depends on the number of skus, which grows with the log up to `_MOST_SKUS`.
"""

import random
from collections.abc import Iterator
from itertools import islice

from sample_logs.shared import Rnd, ticks

_MOST_SKUS = 20_000
_SAME_TRANSACTION = 0.25
_DELETED = 0.006
_TWICE_FROM = 0.5  # shares of the log after which the two errors of delivery come
_LATE_FROM = 0.53
_LATE_BY = 3  # lines between the newer change and the late one
_ROOM = 100

_GOODS = ("tea", "coffee", "cocoa", "honey", "jam", "bread", "rice", "pasta", "soap", "candle")
_PLACES = ("north", "south", "harbour")


class _Row:
    """A row of the source's table; `after` is its current content as JSON, or null."""

    __slots__ = ("after", "name", "number", "on_hand", "reserved", "revision")

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"{_GOODS[number % len(_GOODS)]} {number}"
        self.on_hand = self.reserved = self.revision = 0
        self.after = "null"


class _Table:
    """The source: writes one change per call."""

    def __init__(self, rnd: Rnd) -> None:
        self.rnd = rnd
        self.lsn = 7_400_000
        self.transaction = 500
        self.changes = 0

    def snapshot(self, row: _Row, ms: int, time: str) -> str:
        return self._fill(row, "r", ms, time)

    def change(self, row: _Row, ms: int, time: str, *, update: bool = False) -> str:
        """Write an update, or sometimes a delete; the next change then creates the row again."""
        if row.after == "null":
            return self._fill(row, "c", ms, time)
        if not update and self.rnd() < _DELETED:
            row.on_hand = row.reserved = 0
            return self._line(row, "d", "null", ms, time)
        chance = self.rnd()
        free = row.on_hand - row.reserved
        if chance < 0.45 and free:
            row.reserved += 1 + int(self.rnd() * min(free, 6))
        elif chance < 0.85 and row.reserved:
            picked = 1 + int(self.rnd() * row.reserved)
            row.reserved -= picked
            row.on_hand -= picked
        else:
            row.on_hand += 5 + int(self.rnd() * 60)
        return self._line(row, "u", _content(row), ms, time)

    def _fill(self, row: _Row, op: str, ms: int, time: str) -> str:
        row.on_hand = 10 + int(self.rnd() * 190)
        return self._line(row, op, _content(row), ms, time)

    def _line(self, row: _Row, op: str, after: str, ms: int, time: str) -> str:
        self.lsn += 24 + int(self.rnd() * 400)
        if self.rnd() >= _SAME_TRANSACTION:
            self.transaction += 1
        before, row.after = row.after, after
        number, self.changes = self.changes, self.changes + 1
        row.revision += 1
        return (
            f'{{"id":"cdc-{number}","time":"{time}","stream":"sku-{row.number}"'
            f',"revision":{row.revision - 1},"type":"stock.{op}","version":1'
            f',"correlation_id":"tx-{self.transaction}","causation_id":null'
            f',"data":{{"before":{"null" if op == "r" else before},"after":{after}'
            f',"source":{{"lsn":{self.lsn},"ts_ms":{ms},"table":"stock"}},"op":"{op}"}}'
            f',"meta":{{"connector":"shop-db"}}}}'
        )


def _content(row: _Row) -> str:
    place = _PLACES[row.number % len(_PLACES)]
    return (
        f'{{"sku":"sku-{row.number}","name":"{row.name}","place":"{place}"'
        f',"on_hand":{row.on_hand},"reserved":{row.reserved}}}'
    )


def lines(events: int, seed: int) -> Iterator[str]:
    """Yield the lines of the log, without line ends."""
    rnd = random.Random(seed).random
    table = _Table(rnd)
    rows = [_Row(number + 1) for number in range(min(_MOST_SKUS, max(4, events // 30)))]
    clock = ticks(events, seed)
    listed = rows[: len(rows) * 4 // 5]  # in the first snapshot; the others are created later
    for row, tick in zip(listed, clock, strict=False):
        yield table.snapshot(row, *tick)
    never = events + 1
    twice_due = int(events * _TWICE_FROM) if events >= _ROOM else never
    late_due = int(events * _LATE_FROM) if events >= _ROOM else never
    for tick in clock:
        row = _any(rows, rnd)
        if row.after != "null" and table.changes >= twice_due:
            twice_due = never
            yield (line := table.change(row, *tick, update=True))
            next(clock)  # the second delivery takes a line of the log, but no time of its own
            yield line
        elif row.after != "null" and table.changes >= late_due:
            late_due = never
            late = table.change(row, *tick, update=True)
            yield table.change(row, *next(clock), update=True)
            others = [other for other in rows if other is not row]
            for between in islice(clock, _LATE_BY):
                yield table.change(_any(others, rnd), *between)
            yield late
        else:
            yield table.change(row, *tick)


def _any(rows: list[_Row], rnd: Rnd) -> _Row:
    return rows[int(rnd() * len(rows))]
