"""Structural differences between two JSON documents: paths, each with the value before and after.

Numbers are compared and shown with the digits in which they are stored. Items of a list are matched
by index, after the common beginning and end of both lists are set aside.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from replay.document import paths
from replay.document.paths import ABSENT, DocumentPath

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class DifferenceKind(Enum):
    """How a value differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True)
class Difference:
    """A value that differs between two documents; before or after is `ABSENT` if it is missing there."""

    path: DocumentPath
    before: Any
    after: Any

    @property
    def kind(self) -> DifferenceKind:
        if self.before is ABSENT:
            return DifferenceKind.ADDED
        return DifferenceKind.REMOVED if self.after is ABSENT else DifferenceKind.CHANGED

    @property
    def path_text(self) -> str:
        return paths.format_path(self.path)


def decode_state(text: str | None) -> Any:
    """Return a state's value; fractions become decimals to keep their digits. None becomes `ABSENT`."""
    return ABSENT if text is None else _decoder.decode(text)


def decode_or_text(text: str | None) -> Any:
    """Return a state's value, or the text itself if it can't be decoded.

    DuckDB accepts as JSON what a stricter decoder refuses: NaN, integers of 5,000 digits, a thousand
    nested brackets.
    """
    try:
        return decode_state(text)
    except (ValueError, RecursionError):
        return text


def encode_value(value: Any) -> str:
    """Return a value as JSON text; `ABSENT` becomes null."""
    return "null" if value is ABSENT else _encoder.encode(value).decode()


def find_differences(before: Any, after: Any) -> list[Difference]:
    """Return the differences that turn one value into the other, in the order of the documents."""
    return list(_iterate_differences(before, after, ()))


def _iterate_differences(before: Any, after: Any, path: DocumentPath) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            yield from _iterate_differences(value, after.get(name, ABSENT), (*path, name))
        for name, value in after.items():
            if name not in before:
                yield Difference((*path, name), ABSENT, value)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _iterate_list_differences(before, after, path)
    elif not is_same_value(before, after):
        yield Difference(path, before, after)


def _iterate_list_differences(
    before: list[Any], after: list[Any], path: DocumentPath
) -> Iterator[Difference]:
    shorter = min(len(before), len(after))
    head = 0
    while head < shorter and is_same_value(before[head], after[head]):
        head += 1
    tail = 0
    if len(before) != len(after):
        while tail < shorter - head and is_same_value(before[-1 - tail], after[-1 - tail]):
            tail += 1
    old_items, new_items = before[head : len(before) - tail], after[head : len(after) - tail]
    for index in range(max(len(old_items), len(new_items))):
        left = old_items[index] if index < len(old_items) else ABSENT
        right = new_items[index] if index < len(new_items) else ABSENT
        yield from _iterate_differences(left, right, (*path, head + index))


def is_same_value(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON: 1 is not true, and 0.10 is not 0.1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            name in other and is_same_value(value, other[name]) for name, value in one.items()
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same_value, one, other))
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    return bool(one == other)
