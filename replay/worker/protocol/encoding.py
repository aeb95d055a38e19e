"""States as JSON by fixed rules: the same bytes from every encoder and every interpreter.

Plain values (`is_plain`) come back from their JSON as they went in; for them msgspec is used where
it is there. All others go through the rules here, and are known as such, because a fold can't be
resumed from their JSON. Floats are written as msgspec writes them.
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
except ImportError:  # the user's interpreter need not have it
    msgspec = None  # type: ignore[assignment]

MAX_DEPTH = 200
"""Containers inside containers; a cycle is found by it."""


class UnwritableError(TypeError):
    """A value that can't be shown as JSON; the message names its path and type."""


def plain_encoder() -> Callable[[Any], bytes]:
    """The quickest encoder for plain values; what it gives for others is not to be relied on."""
    return msgspec.json.Encoder().encode if msgspec is not None else _standard


def plain_encoder_into() -> Callable[[Any, bytearray], None]:
    """The same, which puts what it gives in the place of all that a buffer holds."""
    return msgspec.json.Encoder().encode_into if msgspec is not None else _standard_into


def encode(value: Any) -> bytes:
    """JSON by the rules, for any value; raises `UnwritableError`."""
    out: List[str] = []
    _write(value, out, ())
    text = "".join(out)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Halves of surrogate pairs are shown as they are written in Python, \ud800: not as an
        # escape, which JSON's readers refuse.
        return _HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode()


def is_plain(value: Any) -> bool:
    """Whether the value is the same after a trip through JSON, types and shared parts included."""
    return _plain(value, set(), 0)


identity = object.__hash__
"""What tells objects apart, as `id` does; but that is an event for whoever audits."""
_SAID_AS_TEXT = frozenset(("fractions", "ipaddress", "pathlib", "zoneinfo"))
"""Modules of the standard library whose values are what `str` says of them; few programs load them."""
_ALWAYS_PLAIN = frozenset((str, int, bool, type(None)))
_HALF = re.compile("[\ud800-\udfff]")
_EXPONENT = re.compile(r"\d[eE][-+]?\d")


def _standard(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), check_circular=False)
    if _EXPONENT.search(text):
        return encode(value)
    return text.encode()


def _standard_into(value: Any, buffer: bytearray) -> None:
    buffer[:] = _standard(value)


def _plain(value: Any, seen: Set[int], depth: int) -> bool:
    kind = type(value)
    if kind in _ALWAYS_PLAIN:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        if _again(value, seen, depth):
            return False
        for name, item in value.items():
            if type(name) is not str:
                return False
            if type(item) not in _ALWAYS_PLAIN and not _plain(item, seen, depth + 1):
                return False
        return True
    if kind is list:
        return not _again(value, seen, depth) and all(
            type(item) in _ALWAYS_PLAIN or _plain(item, seen, depth + 1) for item in value
        )
    return False


def _again(container: Any, seen: Set[int], depth: int) -> bool:
    """Whether the container was met before in this state, or lies too deep to be sure."""
    number = identity(container)
    if number in seen or depth > MAX_DEPTH:
        return True
    seen.add(number)
    return False


def _write(value: Any, out: List[str], path: Tuple[str, ...]) -> None:
    if len(path) > MAX_DEPTH:
        raise UnwritableError(f"{_at(path[:6])} is nested over {MAX_DEPTH} deep, or holds itself")
    if value is None or value is True or value is False:
        out.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, Enum):
        _write(value.value, out, path)
    elif isinstance(value, str):
        out.append(encode_basestring(value))
    elif isinstance(value, int):
        try:
            out.append(int.__repr__(value))
        except ValueError:
            raise UnwritableError(f"{_at(path)} has more digits than Python writes") from None
    elif isinstance(value, float):
        out.append(_float(value))
    elif isinstance(value, Decimal):
        out.append(_decimal(value))
    elif isinstance(value, dict):
        named = {name_of(key, path): item for key, item in value.items()}
        if len(named) < len(value):
            raise UnwritableError(f"{_at(path)} has two keys that are one name in JSON")
        _write_members(named.items(), out, path)
    elif isinstance(value, (list, tuple, deque)) and not hasattr(value, "_asdict"):
        _write_items(value, out, path)
    elif isinstance(value, (set, frozenset)):
        out.append("[" + ",".join(sorted(_text(item, path) for item in value)) + "]")
    else:
        simple = _simple(value)
        if simple is not None:
            out.append(encode_basestring(simple))
            return
        members = _members(value)
        if members is not None:
            _write_members(members, out, path)
        else:
            _write(_held(value, path), out, path)


def _write_members(members: Any, out: List[str], path: Tuple[str, ...]) -> None:
    before = "{"
    for name, item in members:
        out.append(before)
        out.append(encode_basestring(name))
        out.append(":")
        _write(item, out, (*path, name))
        before = ","
    out.append("{}" if before == "{" else "}")


def _write_items(items: Any, out: List[str], path: Tuple[str, ...]) -> None:
    before = "["
    for index, item in enumerate(items):
        out.append(before)
        _write(item, out, (*path, f"[{index}]"))
        before = ","
    out.append("[]" if before == "[" else "]")


def _text(value: Any, path: Tuple[str, ...]) -> str:
    out: List[str] = []
    _write(value, out, path)
    return "".join(out)


def name_of(key: Any, path: Tuple[str, ...] = ()) -> str:
    """The name that stands in JSON for a key of a dict."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return key
    text = _text(key, path)
    return json.loads(text) if text.startswith('"') else text


def _float(value: float) -> str:
    if math.isnan(value):
        return '"NaN"'
    if value in (math.inf, -math.inf):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if msgspec is not None:
        return msgspec.json.encode(float(value)).decode()
    return _float_text(value)


def _float_text(value: float) -> str:
    """Python's shortest digits, with the exponent as msgspec writes it: 1e16, 1e-7, but 0.00001."""
    text = float.__repr__(value)
    if "e" not in text:
        return text
    digits, exponent = text.split("e")
    if int(exponent) == -5:
        return format(Decimal(text), "f")
    return f"{digits}e{int(exponent)}"


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        return encode_basestring(str(value))
    text = str(value)
    return text if "E" not in text else format(value, "f")


def _simple(value: Any) -> Any:
    """The text of a value that is one, or None."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, (UUID, UserString)):
        return str(value)
    if type(value).__module__.partition(".")[0] in _SAID_AS_TEXT:
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, complex):
        return str(value)
    return None


def _members(value: Any) -> Optional[List[Tuple[str, Any]]]:
    """What an object is made of: its fields, attributes or slots, in their order; None where it has none."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    if hasattr(value, "_asdict"):
        return list(value._asdict().items())
    fields = getattr(type(value), "__struct_fields__", None)
    if fields is not None:
        return [(name, getattr(value, name)) for name in fields]
    # What stands for an open file or socket has attributes, but they aren't what it is.
    if not callable(value) and not hasattr(value, "fileno"):
        members = list(_slots(value))
        if hasattr(value, "__dict__"):
            return members + [(str(name), item) for name, item in vars(value).items()]
        if members:
            return members
    return None


def _held(value: Any, path: Tuple[str, ...]) -> Any:
    """What a container without attributes holds, and a number of numpy's, as Python's own value."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (array, range)):
        return list(value)
    if callable(getattr(value, "tolist", None)):
        return value.tolist()
    if isinstance(value, AnySet):
        return frozenset(value)
    raise UnwritableError(f"{_at(path)} is a {type(value).__name__}, which can't be shown as JSON")


def _slots(value: Any) -> Iterator[Tuple[str, Any]]:
    """What a class keeps in slots, those of its bases first."""
    for kind in reversed(type(value).__mro__):
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name.startswith("__") and name.endswith("__"):
                continue  # what Python and libraries keep for themselves
            private = name.startswith("__")
            attribute = f"_{kind.__name__.lstrip('_')}{name}" if private else name
            if hasattr(value, attribute):
                yield attribute, getattr(value, attribute)


def _at(path: Tuple[str, ...]) -> str:
    return "state" + "".join(part if part[:1] == "[" else "." + part for part in path)
