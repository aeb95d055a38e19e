"""Mutations of bytes, texts and JSON values; equal random generators give equal mutations."""

import json
import random
import string
from collections.abc import Callable
from typing import Any

_BYTES = (
    *(b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\r", b"\n"),
    *(b"\x1b[31m", b"\x1b]52;c;ZXZpbA==\x07", b"\xc2\x9b31m", b"\xe2\x80\xae", b"\x7f", b"\x08"),
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0.0",
        b"9" * 400,
        b"253402300800000",
        b"99999999999999999999",
    ),
    *(
        b"[" * 3000,
        b'{"a":' * 1500,
        b'"',
        b"\\",
        b"\\ud800",
        b"\\u0000",
        b"\\u001b[31m",
        b"'",
        b";",
    ),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x80"),
)
"""Pieces to insert into bytes."""
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, "", " ", "0", "-", "null", "NaN"),
    *(float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, -0.0),
    *(2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**40, 10**310, -(10**400)),
    *(253402300800000, 253402300799, -62135596801, 1767441600123456789, 10**15, -1e300),
    *("Infinity", "1e999", "9" * 400, "0x10", "1_000", "٣", "2026-13-45", "0000-00-00T00:00:00Z"),
    *("9999-12-31T23:59:60Z", "10000-01-01", "2026-01-03T12:00:00+99:99", "-infinity", "now"),
    *("\x1b]52;c;ZXZpbA==\x07", "\x1b[2J", "\x9b31m", "a\x00b", "\u202eabc", "\ud800", "\x7f\x08"),
    *("a\nb", "a\rb", "x" * 100_000, "日本" * 50, "'; DROP TABLE events; --", "../../etc", "%s%n"),
    *([], {}, [[]], {"": {}}, [1, "a", None], {"a": 1, "b": [1]}, {"\x1b[31m": "\x1b[0m"}),
)
"""Values that replace others."""
_WORDS = (
    *("state", "key", "offset", "data", "meta", "type", "stream", "time", "events", "history"),
    *(
        "SELECT",
        "FROM",
        "WHERE",
        "AND",
        "OR",
        "NOT",
        "IN",
        "BETWEEN",
        "LIKE",
        "CASE",
        "WHEN",
        "END",
    ),
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        ";",
        "'",
        '"',
        "--",
        "/*",
        "*/",
        "::",
        "->",
        "->>",
        "$",
    ),
    *("=", "<>", "<", ">", "+", "-", "*", "/", "%", "||", "^", "!", "?", ":=", "=>", "@"),
    *("1", "-1", "1e999", "9" * 40, "0x1", "NULL", "TRUE", "INTERVAL 1 DAY", "DATE '2026-01-01'"),
    *("read_text('/etc/passwd')", "read_csv('/dev/zero')", "getenv('HOME')", "glob('/*')"),
    *("sum(", "count(*)", "repeat('x', 1000000000)", "range(1000000000)", "unnest(", "random()"),
    *("json_execute_serialized_sql('{}')", "query('SELECT 1')", "query_table('events')", "COPY"),
    *(
        "ATTACH",
        "INSTALL",
        "LOAD",
        "PRAGMA",
        "SET",
        "CREATE",
        "DROP",
        "EXPORT",
        "CALL",
        "WITH RECURSIVE",
    ),
    *(
        "1200",
        "900+1",
        "50%",
        "start",
        "end",
        "order-1@6",
        "id:e1",
        "2026-01-03T12:00",
        "x@",
        "id:",
    ),
)
"""Words of SQL, of conditions and of positions."""


def mutate_bytes(draw: random.Random, seed: bytes, *, most: int = 3) -> bytes:
    """Return the bytes with one to `most` changes."""
    found = bytearray(seed)
    for _ in range(draw.randint(1, most)):
        draw.choice(_BYTE_MUTATIONS)(draw, found)
    return bytes(found[: 4 << 20])


def mutate_json(draw: random.Random, value: Any) -> str:
    """Return the value as JSON text with odd values, doubled or missing members, or broken text."""
    found = value
    for _ in range(draw.randint(1, 3)):
        found = _mutate_value(draw, found)
    text = json.dumps(found, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.25:
        return mutate_bytes(draw, text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
    return text


def odd_value(draw: random.Random) -> Any:
    """Return a value that few programs expect."""
    if draw.random() < 0.1:
        return _nested(draw)
    return draw.choice(_VALUES)


def mutate_words(draw: random.Random, seed: str) -> str:
    """Return a text in which words of SQL and positions are inserted, removed or repeated."""
    parts = seed.split(" ")
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(parts) + 1)
        way = draw.random()
        if way < 0.5:
            parts.insert(at, draw.choice(_WORDS))
        elif way < 0.65 and parts:
            parts.pop(at - 1)
        elif way < 0.75:
            parts = parts * 2
        elif way < 0.85:
            parts.insert(at, "(" * draw.choice((1, 50, 3000)))
        else:
            parts.insert(at, str(odd_value(draw))[:2000])
    text = draw.choice((" ", " ", " ", "")).join(parts)
    return text[:20_000].replace("\x00", "")


def _mutate_value(draw: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.85:
        name = draw.choice(list(value))
        way = draw.random()
        if way < 0.1:
            return {n: v for n, v in value.items() if n != name}
        if way < 0.2:
            return {**value, _odd_name(draw): value[name]}
        return {**value, name: _mutate_value(draw, value[name])}
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        return [*value[:at], _mutate_value(draw, value[at]), *value[at + 1 :]]
    return odd_value(draw)


def _odd_name(draw: random.Random) -> str:
    return draw.choice(
        ("", "\x1b[31m", "a.b", "$", "é", "offset", "'", '"', "x" * 5000, "\ud800", "__x")
    )


def _nested(draw: random.Random) -> Any:
    value: Any = 1
    for _ in range(draw.choice((10, 400, 900))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def _flip(draw: random.Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _overwrite(draw: random.Random, data: bytearray) -> None:
    if data:
        data[draw.randrange(len(data))] = draw.randrange(256)


def _cut(draw: random.Random, data: bytearray) -> None:
    if data:
        del data[draw.randrange(len(data)) :]


def _delete(draw: random.Random, data: bytearray) -> None:
    if data:
        at = draw.randrange(len(data))
        del data[at : at + draw.randint(1, 40)]


def _splice(draw: random.Random, data: bytearray) -> None:
    if data:
        at, to = draw.randrange(len(data)), draw.randrange(len(data))
        data[to:to] = data[at : at + draw.randint(1, 200)]


def _insert(draw: random.Random, data: bytearray) -> None:
    at = draw.randrange(len(data) + 1)
    data[at:at] = draw.choice(_BYTES)


def _forge_length(draw: random.Random, data: bytearray) -> None:
    """Overwrite four or eight bytes with a large number, because they may be a length."""
    if len(data) >= 8:
        at = draw.randrange(len(data) - 7)
        size = draw.choice((4, 8))
        number = draw.choice((2**31 - 1, 2**32 - 1, 2**30, 2**40, 0, 2**20)) % 2 ** (8 * size)
        data[at : at + size] = number.to_bytes(size, draw.choice(("little", "big")))


def _letters(draw: random.Random, data: bytearray) -> None:
    if data:
        at = draw.randrange(len(data))
        text = "".join(draw.choices(string.printable, k=draw.randint(1, 8)))
        data[at : at + len(text)] = text.encode()


_BYTE_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _overwrite, _cut, _delete, _splice, _insert, _insert, _forge_length, _letters),
)
