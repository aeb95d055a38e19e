"""Where an event's field comes from in a record of its source: a small algebra over paths.

An expression says it once; `value` computes it from a record in memory, and
`storage.ingest.formats.sql_compiler` writes it as SQL.
A path looks into text that holds JSON as if it were that JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

Path = tuple[str | int, ...]
"""Names of members, and places in lists, from the record down."""

Record = Mapping[str, Any]
"""A record of the source: column name to value."""


@dataclass(frozen=True)
class At:
    """The value at a path."""

    path: Path


@dataclass(frozen=True)
class Header:
    """A Kafka header's value: of a flat list of keys and values, of a list of pairs, or of an object."""

    path: Path
    name: str


@dataclass(frozen=True)
class Rest:
    """The object at a path but for some of its members."""

    path: Path
    without: tuple[str, ...]


@dataclass(frozen=True)
class Fixed:
    """The same text for all records."""

    text: str


@dataclass(frozen=True)
class First:
    """The first of several that is there."""

    of: "tuple[Expression, ...]"


@dataclass(frozen=True)
class Joined:
    """Those that are there, in one text."""

    of: "tuple[Expression, ...]"
    between: str


@dataclass(frozen=True)
class Match:
    """The first group of a regular expression; nothing where it isn't found."""

    of: "Expression"
    pattern: str


Expression = At | Header | Rest | Fixed | First | Joined | Match


Leaf = At | Header | Rest


def changed(
    expression: Expression, change: "Callable[[Leaf], Expression | None]"
) -> Expression | None:
    """The same with other leaves; what has none left is gone, and of one alternative only that is left."""
    match expression:
        case At() | Header() | Rest():
            return change(expression)
        case Fixed():
            return expression
        case First():
            options = _all_changed(expression.of, change)
            return First(options) if len(options) > 1 else options[0] if options else None
        case Joined():
            parts = _all_changed(expression.of, change)
            return Joined(parts, expression.between) if parts else None
        case Match():
            there = changed(expression.of, change)
            return None if there is None else Match(there, expression.pattern)


def _all_changed(
    of: tuple[Expression, ...], change: "Callable[[Leaf], Expression | None]"
) -> tuple[Expression, ...]:
    return tuple(one for e in of if (one := changed(e, change)) is not None)


def at_path(leaf: Leaf, path: Path) -> Leaf:
    """A leaf at another path."""
    return replace(leaf, path=path)


def leaves(expression: Expression) -> Iterator[Leaf]:
    """What it reads of a record."""
    match expression:
        case At() | Header() | Rest():
            yield expression
        case Fixed():
            pass
        case First() | Joined():
            for one in expression.of:
                yield from leaves(one)
        case Match():
            yield from leaves(expression.of)


def written(expression: Expression) -> str:
    """How it is shown to a person."""
    match expression:
        case At():
            return written_path(expression.path)
        case Header():
            return f"header {expression.name}"
        case Rest():
            there = f"{written_path(expression.path)}: " if expression.path else ""
            return f"{there}all fields that are not mapped"
        case Fixed():
            return f"“{expression.text}”"
        case First():
            said = ", else ".join(written(one) for one in expression.of[:2])
            return said if len(expression.of) <= 2 else f"{said}, …"
        case Joined():
            return f" {expression.between} ".join(_briefly(one) for one in expression.of)
        case Match():
            return f"{written(expression.of)} as {expression.pattern}"


def _briefly(expression: Expression) -> str:
    return written(expression.of[0]) if isinstance(expression, First) else written(expression)


def written_path(path: Path) -> str:
    return ".".join(str(step) for step in path)


class Reader(Protocol):
    """A record in memory, in whatever values it is held."""

    def at(self, path: Path) -> Any:
        """The value at a path; None where there is none."""
        ...

    def opened(self, there: Any) -> Any:
        """An object as a mapping and a list as a list, also what a text holds; else as it is."""
        ...

    def text(self, there: Any) -> str | None:
        """The text of a value."""
        ...


def value(expression: Expression, reader: Reader) -> Any:
    """What an expression gives for a record."""
    match expression:
        case At():
            return reader.at(expression.path)
        case Header():
            return _header(reader, expression)
        case Rest():
            there = reader.opened(reader.at(expression.path))
            if not isinstance(there, Mapping):
                return None
            return {name: v for name, v in there.items() if name not in expression.without}
        case Fixed():
            return expression.text
        case First():
            found = (value(one, reader) for one in expression.of)
            return next((one for one in found if one is not None), None)
        case Joined():
            parts = [reader.text(value(one, reader)) for one in expression.of]
            said = [part for part in parts if part is not None]
            return expression.between.join(said) if said else None
        case Match():
            there = reader.text(value(expression.of, reader))
            found_at = re.search(expression.pattern, there) if there is not None else None
            return found_at[1] if found_at else None


def _header(reader: Reader, expression: Header) -> Any:
    headers = reader.opened(reader.at(expression.path))
    if isinstance(headers, Mapping):
        return headers.get(expression.name)
    if not isinstance(headers, list):
        return None
    pairs = [reader.opened(one) for one in headers]
    if pairs and isinstance(pairs[0], Mapping):
        keyed = ((reader.text(p.get("key")), p.get("value")) for p in pairs)
    else:
        keyed = ((reader.text(k), v) for k, v in zip(headers[::2], headers[1::2], strict=False))
    return next((v for k, v in keyed if k == expression.name), None)


@dataclass(frozen=True)
class _Plain:
    """A record of Python's own values."""

    record: Record

    def at(self, path: Path) -> Any:
        return value_at(self.record, path)

    def opened(self, there: Any) -> Any:
        return opened(there)

    def text(self, there: Any) -> str | None:
        return plain_text(there)


def of_record(expression: Expression, record: Record) -> Any:
    """What an expression gives for a record of Python's own values."""
    return value(expression, _Plain(record))


def value_at(record: Any, path: Path) -> Any:
    """The value at a path of Python's own values, also inside of text that holds JSON."""
    return walk(record, path, opened)


def walk(there: Any, path: Path, opened: Callable[[Any], Any]) -> Any:
    """The value at a path; `opened` makes a mapping or a list of what holds one."""
    for step in path:
        there = opened(there)
        if isinstance(there, Mapping):
            there = there.get(str(step))
        elif isinstance(there, list) and isinstance(step, int) and step < len(there):
            there = there[step]
        else:
            return None
    return there


def opened(there: Any) -> Any:
    """What a text holds, if that is a JSON object or list; anything else as it is."""
    if isinstance(there, (bytes, bytearray)):
        there = bytes(there).decode(errors="replace")
    if isinstance(there, str) and there[:1] in ("{", "["):
        try:
            return json.loads(there)
        except (ValueError, RecursionError):
            return there
    return there


def plain_text(there: Any) -> str | None:
    if there is None or isinstance(there, str):
        return there
    if isinstance(there, bool):
        return str(there).lower()
    return json.dumps(there, default=str) if isinstance(there, (dict, list)) else str(there)


# Kept in the workspace

_KINDS: dict[str, type] = {
    "at": At,
    "header": Header,
    "rest": Rest,
    "fixed": Fixed,
    "first": First,
    "joined": Joined,
    "match": Match,
}


def to_json(expression: Expression) -> list[Any]:
    """A JSON value from which `from_json` makes the same expression."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(expression, cls))
    match expression:
        case At():
            return [kind, list(expression.path)]
        case Header():
            return [kind, list(expression.path), expression.name]
        case Rest():
            return [kind, list(expression.path), list(expression.without)]
        case Fixed():
            return [kind, expression.text]
        case First():
            return [kind, [to_json(one) for one in expression.of]]
        case Joined():
            return [kind, [to_json(one) for one in expression.of], expression.between]
        case Match():
            return [kind, to_json(expression.of), expression.pattern]


def from_json(said: Any) -> Expression:
    """The expression that `to_json` wrote; raises `ValueError` where it is none."""
    kind, first, *more = said
    match kind, more:
        case "at", []:
            return At(_path(first))
        case "header", [str(name)]:
            return Header(_path(first), name)
        case "rest", [list(without)]:
            return Rest(_path(first), tuple(map(str, without)))
        case "fixed", [] if isinstance(first, str):
            return Fixed(first)
        case "first", []:
            return First(tuple(map(from_json, first)))
        case "joined", [str(between)]:
            return Joined(tuple(map(from_json, first)), between)
        case "match", [str(pattern)]:
            re.compile(pattern)
            return Match(from_json(first), pattern)
    raise ValueError(kind)


def _path(said: Any) -> Path:
    if not isinstance(said, list) or not all(type(step) in (str, int) for step in said):
        raise ValueError(said)
    return tuple(said)
