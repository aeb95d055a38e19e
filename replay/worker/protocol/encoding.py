"""Encodes states as JSON by fixed rules: the same bytes from every encoder and interpreter.

Values that round-trip through JSON (`round_trips_json`) are encoded by msgspec if it is installed. All
others need `encode_exactly`, and must be known as such, because a fold can't be resumed from their
JSON. Floats are written as msgspec writes them.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from array import array
from collections import UserString, deque
from collections.abc import Mapping
from collections.abc import Set as AnySet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring
from typing import Any, Callable, Iterator, List, Optional, Set, Tuple
from uuid import UUID

try:
    import msgspec
except ImportError:  # optional in the user's interpreter
    msgspec = None  # type: ignore[assignment]

MAX_DEPTH = 200
"""Maximum nesting of containers; a cycle exceeds it."""


class UnencodableError(TypeError):
    """A value can't be encoded as JSON; the message names its path and type."""


def build_plain_encoder() -> Callable[[Any], bytes]:
    """Return the fastest encoder for values that round-trip; its output for others is undefined."""
    return msgspec.json.Encoder().encode if msgspec is not None else _encode_standard


def build_plain_encoder_into() -> Callable[[Any, bytearray], None]:
    """Return the same encoder as a function that replaces the content of a buffer."""
    return msgspec.json.Encoder().encode_into if msgspec is not None else _encode_standard_into


def encode_exactly(value: Any) -> bytes:
    """Return any value as JSON by the rules; raises `UnencodableError` if there is no rule."""
    out: List[str] = []
    _encode_into(value, out, ())
    text = "".join(out)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Write a lone surrogate as the six characters \ud800, because JSON readers refuse an escape
        # of half a pair.
        return _LONE_SURROGATE.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode()


def round_trips_json(value: Any) -> bool:
    """Return whether a value, its types and its shared parts survive a trip through JSON."""
    return _round_trips(value, set(), 0)


object_identity = object.__hash__
"""Identifies an object as `id` does, but without raising an audit event."""
_TEXT_VALUE_MODULES = frozenset(("fractions", "ipaddress", "pathlib", "zoneinfo"))
"""Standard modules whose values are encoded by `str`; named here because few programs load them."""
_SCALAR_TYPES = frozenset((str, int, bool, type(None)))
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_EXPONENT = re.compile(r"\d[eE][-+]?\d")


def _encode_standard(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), check_circular=False)
    if _EXPONENT.search(text):
        return encode_exactly(value)
    return text.encode()


def _encode_standard_into(value: Any, buffer: bytearray) -> None:
    buffer[:] = _encode_standard(value)


def _round_trips(value: Any, seen_ids: Set[int], depth: int) -> bool:
    kind = type(value)
    if kind in _SCALAR_TYPES:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        if _is_repeated_or_deep(value, seen_ids, depth):
            return False
        for name, item in value.items():
            if type(name) is not str:
                return False
            if type(item) not in _SCALAR_TYPES and not _round_trips(item, seen_ids, depth + 1):
                return False
        return True
    if kind is list:
        return not _is_repeated_or_deep(value, seen_ids, depth) and all(
            type(item) in _SCALAR_TYPES or _round_trips(item, seen_ids, depth + 1) for item in value
        )
    return False


def _is_repeated_or_deep(container: Any, seen_ids: Set[int], depth: int) -> bool:
    """Return whether the container occurred before in this state, or is nested too deep."""
    number = object_identity(container)
    if number in seen_ids or depth > MAX_DEPTH:
        return True
    seen_ids.add(number)
    return False


def _encode_into(value: Any, out: List[str], path: Tuple[str, ...]) -> None:
    if len(path) > MAX_DEPTH:
        raise UnencodableError(
            f"{_describe_path(path[:6])} is nested over {MAX_DEPTH} deep, or contains itself"
        )
    if value is None or value is True or value is False:
        out.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, Enum):
        _encode_into(value.value, out, path)
    elif isinstance(value, str):
        out.append(encode_basestring(value))
    elif isinstance(value, int):
        try:
            out.append(int.__repr__(value))
        except ValueError:
            raise UnencodableError(
                f"{_describe_path(path)} has more digits than Python converts to text"
            ) from None
    elif isinstance(value, float):
        out.append(_encode_float(value))
    elif isinstance(value, Decimal):
        out.append(_encode_decimal(value))
    elif isinstance(value, dict):
        named = {encode_key(key, path): item for key, item in value.items()}
        if len(named) < len(value):
            raise UnencodableError(
                f"{_describe_path(path)} has two keys with the same name in JSON"
            )
        _encode_members(named.items(), out, path)
    elif isinstance(value, (list, tuple, deque)) and not hasattr(value, "_asdict"):
        _encode_items(value, out, path)
    elif isinstance(value, (set, frozenset)):
        out.append("[" + ",".join(sorted(_encode_text(item, path) for item in value)) + "]")
    else:
        simple = _find_text_form(value)
        if simple is not None:
            out.append(encode_basestring(simple))
            return
        members = _list_members(value)
        if members is not None:
            _encode_members(members, out, path)
        else:
            _encode_into(_contained_value(value, path), out, path)


def _encode_members(members: Any, out: List[str], path: Tuple[str, ...]) -> None:
    before = "{"
    for name, item in members:
        out.append(before)
        out.append(encode_basestring(name))
        out.append(":")
        _encode_into(item, out, (*path, name))
        before = ","
    out.append("{}" if before == "{" else "}")


def _encode_items(items: Any, out: List[str], path: Tuple[str, ...]) -> None:
    before = "["
    for index, item in enumerate(items):
        out.append(before)
        _encode_into(item, out, (*path, f"[{index}]"))
        before = ","
    out.append("[]" if before == "[" else "]")


def _encode_text(value: Any, path: Tuple[str, ...]) -> str:
    out: List[str] = []
    _encode_into(value, out, path)
    return "".join(out)


def encode_key(key: Any, path: Tuple[str, ...] = ()) -> str:
    """Return the JSON name of a dict's key; raises `UnencodableError` if there is none."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return key
    text = _encode_text(key, path)
    return json.loads(text) if text.startswith('"') else text


def _encode_float(value: float) -> str:
    if math.isnan(value):
        return '"NaN"'
    if value in (math.inf, -math.inf):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if msgspec is not None:
        return msgspec.json.encode(float(value)).decode()
    return _format_float(value)


def _format_float(value: float) -> str:
    """Return Python's shortest digits with the exponent as in msgspec: 1e16, 1e-7, but 0.00001."""
    text = float.__repr__(value)
    if "e" not in text:
        return text
    digits, exponent = text.split("e")
    if int(exponent) == -5:
        return format(Decimal(text), "f")
    return f"{digits}e{int(exponent)}"


def _encode_decimal(value: Decimal) -> str:
    if not value.is_finite():
        return encode_basestring(str(value))
    text = str(value)
    return text if "E" not in text else format(value, "f")


def _find_text_form(value: Any) -> Any:
    """Return the text for a value that is encoded as one, such as a date; None for others."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, (UUID, UserString)):
        return str(value)
    if type(value).__module__.partition(".")[0] in _TEXT_VALUE_MODULES:
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, complex):
        return str(value)
    return None


def _list_members(value: Any) -> Optional[List[Tuple[str, Any]]]:
    """Return an object's fields, attributes or slots in their order; None if it has none."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    if hasattr(value, "_asdict"):
        return list(value._asdict().items())
    fields = getattr(type(value), "__struct_fields__", None)
    if fields is not None:
        return [(name, getattr(value, name)) for name in fields]
    # An open file or socket has attributes, but they don't describe its state.
    if not callable(value) and not hasattr(value, "fileno"):
        members = list(_iterate_slots(value))
        if hasattr(value, "__dict__"):
            return members + [(str(name), item) for name, item in vars(value).items()]
        if members:
            return members
    return None


def _contained_value(value: Any, path: Tuple[str, ...]) -> Any:
    """Return another container's items, or a numpy value, as a built-in Python value."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (array, range)):
        return list(value)
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    if isinstance(value, AnySet):
        return frozenset(value)
    raise UnencodableError(
        f"{_describe_path(path)} is a {type(value).__name__}, which can't be encoded as JSON"
    )


def _iterate_slots(value: Any) -> Iterator[Tuple[str, Any]]:
    """Yield names and values of an object's slots, those of base classes first."""
    for kind in reversed(type(value).__mro__):
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name.startswith("__") and name.endswith("__"):
                continue  # internal to Python or a library
            private = name.startswith("__")
            attribute = f"_{kind.__name__.lstrip('_')}{name}" if private else name
            if hasattr(value, attribute):
                yield attribute, getattr(value, attribute)


def _describe_path(path: Tuple[str, ...]) -> str:
    return "state" + "".join(part if part[:1] == "[" else "." + part for part in path)
