"""Read Avro payloads without their container, within limits on depth and number of values.

With a recursive schema, fastavro recurses as deep as the bytes say, until the process crashes. It
also makes as many array items as the bytes claim, even if an item takes no bytes. If a schema allows
either, refold first walks through each payload, and refuses it if it exceeds the limits.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fastavro

MAX_DEPTH = 250
"""Maximum nesting of types in a schema, and of values in a payload."""
MAX_VALUES = 500_000
"""Maximum number of values in a payload."""
_FREE_VALUES = 16
"""Values per byte of an array item up to which payloads need no walk."""
_MAX_DECIMAL_BYTES = 512
"""Maximum bytes of a decimal, because converting a longer one is slow."""
_SMALL_BYTES = 8 << 10
"""Bytes of a payload up to which no decimal is long enough to be slow."""
_SIZES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
"""Minimum bytes of a value, by primitive type."""
_ENOUGH = 1 << 40
"""Cap of sizes and counts, because nested records multiply them."""

Schema = Any
Named = dict[str, Any]


def reader_of(schema: Schema, named: Named) -> Callable[[bytes], Any]:
    """Return a function from a payload's bytes to its value.

    `schema` and `named` are the results of `fastavro.parse_schema`. The function raises `ValueError`
    if a payload exceeds the limits, and whatever fastavro raises. Raises `ValueError` if the schema
    is nested too deep.
    """
    shape = _Shapes(named)
    shape.of(schema, 0)

    def read(payload: bytes) -> Any:
        if shape.is_unbounded or (shape.has_decimal and len(payload) > _SMALL_BYTES):
            _Walk(payload, named).value(schema, 0)
        return fastavro.schemaless_reader(io.BytesIO(payload), schema, None)

    return read


@dataclass(frozen=True)
class _Shape:
    """The smallest payload of a type."""

    size: int
    """Minimum number of bytes."""
    values: int
    """Number of values that these bytes hold."""


class _Shapes:
    """The shapes of a schema's types, and whether few bytes may hold many or deep values."""

    def __init__(self, named: Named) -> None:
        self.is_unbounded = False
        self.has_decimal = False
        self._named = named
        self._known: dict[str, _Shape | None] = {}

    def of(self, schema: Schema, depth: int) -> _Shape:
        """Return the shape of a type; raises `ValueError` if it is nested too deep."""
        if depth > MAX_DEPTH:
            raise ValueError(f"the schema is nested deeper than {MAX_DEPTH}")
        if isinstance(schema, list):
            return self._of_union(schema, depth)
        if isinstance(schema, str):
            if schema in _SIZES:
                return _Shape(_SIZES[schema], 1)
            return self._of_name(schema, depth)
        kind = schema["type"]
        if schema.get("logicalType") == "decimal":
            self.has_decimal = True
        if kind in ("array", "map"):
            item = self.of(schema["items" if kind == "array" else "values"], depth + 1)
            size = item.size + (kind == "map")
            if item.values > _FREE_VALUES * size:
                self.is_unbounded = True
            return _Shape(1, 1)
        if kind == "fixed":
            return _Shape(int(schema["size"]), 1)
        if kind == "enum":
            return _Shape(1, 1)
        if kind in ("record", "error"):
            name = str(schema["name"])
            if name in self._known:
                return self._of_name(name, depth)
            self._known[name] = None
            self._known[name] = found = self._of_fields(schema, depth)
            return found
        return self.of(kind, depth + 1)

    def _of_name(self, name: str, depth: int) -> _Shape:
        if name not in self._known:
            return self.of(self._named[name], depth + 1)
        found = self._known[name]
        if found is None:  # the type contains itself
            self.is_unbounded = True
            return _Shape(0, 1)
        return found

    def _of_fields(self, schema: Schema, depth: int) -> _Shape:
        shapes = [self.of(field["type"], depth + 1) for field in schema["fields"]]
        size = min(_ENOUGH, sum(shape.size for shape in shapes))
        values = min(_ENOUGH, 1 + sum(shape.values for shape in shapes))
        if values > MAX_VALUES // 20:
            self.is_unbounded = True
        return _Shape(size, values)

    def _of_union(self, schema: Schema, depth: int) -> _Shape:
        shapes = [self.of(one, depth + 1) for one in schema]
        return _Shape(1, max((shape.values for shape in shapes), default=1))


class _Walk:
    """A walk through a payload that checks the limits without creating values."""

    def __init__(self, payload: bytes, named: Named) -> None:
        self._payload = payload
        self._named = named
        self._at = 0
        self._values = 0

    def value(self, schema: Schema, depth: int) -> None:
        """Walk through a value; raises `ValueError` if it exceeds the limits."""
        self._values += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"the payload is nested deeper than {MAX_DEPTH}")
        if self._values > MAX_VALUES:
            raise ValueError(f"the payload has more than {MAX_VALUES:,} values")
        if isinstance(schema, list):
            self.value(schema[self._index(len(schema))], depth + 1)
            return
        kind = schema if isinstance(schema, str) else schema["type"]
        if kind in ("int", "long"):
            self._number()
        elif kind in ("bytes", "string"):
            self._text(schema)
        elif isinstance(kind, str) and kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == "fixed":
            self._skip(int(schema["size"]))
        elif kind == "enum":
            self._number()
        elif kind in ("array", "map"):
            self._blocks(schema["items" if kind == "array" else "values"], kind == "map", depth)
        elif kind in ("record", "error"):
            for field in schema["fields"]:
                self.value(field["type"], depth + 1)
        else:
            self.value(self._named[kind] if isinstance(kind, str) else kind, depth + 1)

    def _blocks(self, items: Schema, has_keys: bool, depth: int) -> None:
        while count := self._number():
            if count < 0:
                count = -count
                self._number()
            for _ in range(count):
                if has_keys:
                    self._text("string")
                self.value(items, depth + 1)

    def _text(self, schema: Schema) -> None:
        length = self._number()
        is_decimal = isinstance(schema, dict) and schema.get("logicalType") == "decimal"
        if is_decimal and length > _MAX_DECIMAL_BYTES:
            raise ValueError(f"a decimal has more than {_MAX_DECIMAL_BYTES} bytes")
        self._skip(length)

    def _index(self, count: int) -> int:
        index = self._number()
        if not 0 <= index < count:
            raise ValueError("the payload names no branch of a union")
        return index

    def _number(self) -> int:
        number = shift = 0
        while shift < 70:
            byte = self._payload[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (number >> 1) ^ -(number & 1)
            shift += 7
        raise ValueError("a number is too long")

    def _skip(self, count: int) -> None:
        self._at += count
        if count < 0 or self._at > len(self._payload):
            raise ValueError("the payload ends too early")
