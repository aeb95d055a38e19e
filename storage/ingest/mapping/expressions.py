"""Expressions over paths that give an event's field from a record of its source.

`evaluate_expression` evaluates an expression for a record in memory, and
`storage.ingest.formats.sql_compiler` compiles it to SQL; both must agree. A path also leads into text
that holds JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

FieldPath = tuple[str | int, ...]
"""Names of members and indexes of list items, from the record inward."""

Record = Mapping[str, Any]
"""A record of the source: value by column name."""


@dataclass(frozen=True)
class PathValue:
    """The value at a path."""

    path: FieldPath


@dataclass(frozen=True)
class HeaderValue:
    """The value of a Kafka header.

    The headers at the path are a flat list of keys and values, a list of pairs, or an object.
    """

    path: FieldPath
    header_name: str


@dataclass(frozen=True)
class RemainingMembers:
    """The object at a path without the excluded members."""

    path: FieldPath
    excluded: tuple[str, ...]


@dataclass(frozen=True)
class FixedText:
    """The same text for all records."""

    text: str


@dataclass(frozen=True)
class FirstPresent:
    """The first operand that has a value."""

    operands: "tuple[Expression, ...]"


@dataclass(frozen=True)
class JoinedText:
    """The texts of all operands that have a value, joined by the separator."""

    operands: "tuple[Expression, ...]"
    separator: str


@dataclass(frozen=True)
class RegexGroup:
    """The first group of a regular expression in the operand's text; None if it doesn't match."""

    operand: "Expression"
    pattern: str


Expression = (
    PathValue | HeaderValue | RemainingMembers | FixedText | FirstPresent | JoinedText | RegexGroup
)


Leaf = PathValue | HeaderValue | RemainingMembers


def map_leaves(
    expression: Expression, transform: "Callable[[Leaf], Expression | None]"
) -> Expression | None:
    """Return the expression with each leaf replaced by `transform(leaf)`, or removed if that is None.

    Return None if no leaf is left. A `FirstPresent` with one operand left becomes that operand.
    """
    match expression:
        case PathValue() | HeaderValue() | RemainingMembers():
            return transform(expression)
        case FixedText():
            return expression
        case FirstPresent():
            alternatives = _map_all_leaves(expression.operands, transform)
            return (
                FirstPresent(alternatives)
                if len(alternatives) > 1
                else alternatives[0]
                if alternatives
                else None
            )
        case JoinedText():
            parts = _map_all_leaves(expression.operands, transform)
            return JoinedText(parts, expression.separator) if parts else None
        case RegexGroup():
            operand = map_leaves(expression.operand, transform)
            return None if operand is None else RegexGroup(operand, expression.pattern)


def _map_all_leaves(
    expressions: tuple[Expression, ...], transform: "Callable[[Leaf], Expression | None]"
) -> tuple[Expression, ...]:
    return tuple(one for e in expressions if (one := map_leaves(e, transform)) is not None)


def with_path(leaf: Leaf, path: FieldPath) -> Leaf:
    """Return the leaf with another path."""
    return replace(leaf, path=path)


def iterate_leaves(expression: Expression) -> Iterator[Leaf]:
    """Yield the leaves of an expression: the parts that read the record."""
    match expression:
        case PathValue() | HeaderValue() | RemainingMembers():
            yield expression
        case FixedText():
            pass
        case FirstPresent() | JoinedText():
            for one in expression.operands:
                yield from iterate_leaves(one)
        case RegexGroup():
            yield from iterate_leaves(expression.operand)


def format_expression(expression: Expression) -> str:
    """Return the expression as readable text."""
    match expression:
        case PathValue():
            return format_path(expression.path)
        case HeaderValue():
            return f"header {expression.header_name}"
        case RemainingMembers():
            prefix = f"{format_path(expression.path)}: " if expression.path else ""
            return f"{prefix}all fields that are not mapped"
        case FixedText():
            return f"“{expression.text}”"
        case FirstPresent():
            shown = ", else ".join(format_expression(one) for one in expression.operands[:2])
            return shown if len(expression.operands) <= 2 else f"{shown}, …"
        case JoinedText():
            return f" {expression.separator} ".join(
                _format_first_operand(one) for one in expression.operands
            )
        case RegexGroup():
            return f"{format_expression(expression.operand)} as {expression.pattern}"


def _format_first_operand(expression: Expression) -> str:
    return (
        format_expression(expression.operands[0])
        if isinstance(expression, FirstPresent)
        else format_expression(expression)
    )


def format_path(path: FieldPath) -> str:
    """Return a path as text, such as `meta.dt`."""
    return ".".join(str(step) for step in path)


class RecordReader(Protocol):
    """Access to a record in memory, for any representation of its values."""

    def get(self, path: FieldPath) -> Any:
        """Return the value at a path; None if there is none."""
        ...

    def parse_json(self, value: Any) -> Any:
        """Return an object as a mapping and a list as a list, also if a text holds it.

        Any other value is returned unchanged.
        """
        ...

    def text_of(self, value: Any) -> str | None:
        """Return the text of a value; None for None."""
        ...


def evaluate_expression(expression: Expression, reader: RecordReader) -> Any:
    """Return the value of an expression for a record; None if it has none."""
    match expression:
        case PathValue():
            return reader.get(expression.path)
        case HeaderValue():
            return _find_header(reader, expression)
        case RemainingMembers():
            base = reader.parse_json(reader.get(expression.path))
            if not isinstance(base, Mapping):
                return None
            return {name: v for name, v in base.items() if name not in expression.excluded}
        case FixedText():
            return expression.text
        case FirstPresent():
            values = (evaluate_expression(one, reader) for one in expression.operands)
            return next((value for value in values if value is not None), None)
        case JoinedText():
            parts = [
                reader.text_of(evaluate_expression(one, reader)) for one in expression.operands
            ]
            texts = [part for part in parts if part is not None]
            return expression.separator.join(texts) if texts else None
        case RegexGroup():
            base = reader.text_of(evaluate_expression(expression.operand, reader))
            match = re.search(expression.pattern, base) if base is not None else None
            return match[1] if match else None


def _find_header(reader: RecordReader, expression: HeaderValue) -> Any:
    headers = reader.parse_json(reader.get(expression.path))
    if isinstance(headers, Mapping):
        return headers.get(expression.header_name)
    if not isinstance(headers, list):
        return None
    pairs = [reader.parse_json(one) for one in headers]
    if pairs and isinstance(pairs[0], Mapping):
        named_values = ((reader.text_of(p.get("key")), p.get("value")) for p in pairs)
    else:
        named_values = (
            (reader.text_of(k), v) for k, v in zip(headers[::2], headers[1::2], strict=False)
        )
    return next((v for k, v in named_values if k == expression.header_name), None)


@dataclass(frozen=True)
class _PythonRecordReader:
    """A reader of a record of plain Python values."""

    record: Record

    def get(self, path: FieldPath) -> Any:
        return get_value(self.record, path)

    def parse_json(self, value: Any) -> Any:
        return parse_embedded_json(value)

    def text_of(self, value: Any) -> str | None:
        return value_to_text(value)


def evaluate_record(expression: Expression, record: Record) -> Any:
    """Return the value of an expression for a record of plain Python values; None if it has none."""
    return evaluate_expression(expression, _PythonRecordReader(record))


def get_value(record: Any, path: FieldPath) -> Any:
    """Return the value at a path of plain Python values, also inside text that holds JSON."""
    return walk_path(record, path, parse_embedded_json)


def walk_path(value: Any, path: FieldPath, parse: Callable[[Any], Any]) -> Any:
    """Return the value at a path; None if there is none.

    `parse` turns a value that holds an object or a list into a mapping or a list.
    """
    for step in path:
        value = parse(value)
        if isinstance(value, Mapping):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def parse_embedded_json(value: Any) -> Any:
    """Return the JSON object or list that a text holds; any other value unchanged, bytes as text."""
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode(errors="replace")
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def value_to_text(value: Any) -> str | None:
    """Return a Python value as text: objects, lists and booleans as JSON; None for None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)


# Storage in the workspace

_EXPRESSION_KINDS: dict[str, type] = {
    "at": PathValue,
    "header": HeaderValue,
    "rest": RemainingMembers,
    "fixed": FixedText,
    "first": FirstPresent,
    "joined": JoinedText,
    "match": RegexGroup,
}


def to_json(expression: Expression) -> list[Any]:
    """Return a JSON value from which `from_json` makes the same expression."""
    kind = next(name for name, cls in _EXPRESSION_KINDS.items() if isinstance(expression, cls))
    match expression:
        case PathValue():
            return [kind, list(expression.path)]
        case HeaderValue():
            return [kind, list(expression.path), expression.header_name]
        case RemainingMembers():
            return [kind, list(expression.path), list(expression.excluded)]
        case FixedText():
            return [kind, expression.text]
        case FirstPresent():
            return [kind, [to_json(one) for one in expression.operands]]
        case JoinedText():
            return [kind, [to_json(one) for one in expression.operands], expression.separator]
        case RegexGroup():
            return [kind, to_json(expression.operand), expression.pattern]


def from_json(stored: Any) -> Expression:
    """Return the expression that `to_json` wrote; raises `ValueError` if the value isn't one."""
    kind, first, *more = stored
    match kind, more:
        case "at", []:
            return PathValue(_read_path(first))
        case "header", [str(name)]:
            return HeaderValue(_read_path(first), name)
        case "rest", [list(without)]:
            return RemainingMembers(_read_path(first), tuple(map(str, without)))
        case "fixed", [] if isinstance(first, str):
            return FixedText(first)
        case "first", []:
            return FirstPresent(tuple(map(from_json, first)))
        case "joined", [str(between)]:
            return JoinedText(tuple(map(from_json, first)), between)
        case "match", [str(pattern)]:
            re.compile(pattern)
            return RegexGroup(from_json(first), pattern)
    raise ValueError(kind)


def _read_path(stored: Any) -> FieldPath:
    if not isinstance(stored, list) or not all(type(step) in (str, int) for step in stored):
        raise ValueError(stored)
    return tuple(stored)
