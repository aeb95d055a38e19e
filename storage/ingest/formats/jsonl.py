"""JSON lines: an object a line.

Set-based: DuckDB parses whole batches, and only lines that it refuses are looked at one by one, to
say why. Numbers keep their text (see `storage.ingest.formats.number_precision`).
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from storage.ingest.formats import (
    LINE,
    MAX_DEPTH,
    SAMPLE,
    Fields,
    Reading,
    UnfitError,
    lines,
    number_precision,
)
from storage.ingest.formats.sql_compiler import (
    TRUE,
    Compiled,
    Wanted,
    freed_json,
    freed_text,
    member,
)
from storage.ingest.io import raw_json
from storage.ingest.io.raw_json import Members
from storage.ingest.mapping import FIELDS, PAYLOADS, FieldMapping, Record
from storage.ingest.mapping.expressions import Path, Rest, value, walk
from storage.quoting import quoted

_BATCH = 65_536
_SCHEMA = pa.schema(
    [
        ("raw", pa.string()),
        ("l", pa.string()),
        ("marked", pa.bool_()),
        ("suspect", pa.bool_()),
        (LINE, pa.int64()),
    ]
)

# Few lines have blanks before them, and trimming all is dear.
_AN_OBJECT = "CASE WHEN starts_with(l, '{') THEN true ELSE starts_with(ltrim(l), '{') END"


class JsonLines:
    """`.jsonl`, `.ndjson`, and whatever else has an object on its first line."""

    name = "jsonl"
    whole = False

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002 - the bytes decide
        return head.removeprefix(lines.BOM).lstrip()[:1] == b"{"

    def sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - the head will do
        records = []
        for line in head.removeprefix(lines.BOM).splitlines():
            try:
                record = _decoded(line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                continue
            if isinstance(record, dict):
                records.append(record)
            if len(records) == SAMPLE:
                break
        return records

    def lines(self, reading: Reading) -> Iterator[lines.Lines]:
        """The text of each record, and its number."""
        return lines.read(reading)

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - every line is passed on
        for chunk in self.lines(reading):
            texts = pl.Series(pl.from_arrow(chunk.texts))
            parsed, marked = number_precision.protected(chunk.texts, texts)
            columns = [chunk.texts, parsed, marked, _suspect(texts).to_arrow(), chunk.numbers]
            whole = pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
            for start in range(0, whole.num_rows, _BATCH):
                yield whole.slice(start, _BATCH)

    def fields(self, mapping: FieldMapping, schema: pa.Schema) -> Fields:  # noqa: ARG002 - there is one
        line = _Line()
        compiled = Compiled(mapping, line)
        if not (line.in_sql and compiled.in_sql):
            return Fields({}, good="false", raw="raw")
        return Fields(
            compiled.fields(),
            good=f"j IS NOT NULL AND NOT suspect AND {_AN_OBJECT}"
            f" AND {compiled.parsed} AND NOT {compiled.skipped}",
            raw="raw",
            stages=(
                f"CASE WHEN NOT suspect THEN try(from_json(l, {line.structure})) END AS j",
                *compiled.stages(),
            ),
        )

    def second_look(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:
        if not raw.strip() or (mapping.envelopes and raw.strip() == "null"):
            return None  # a tombstone
        try:
            members = raw_json.members(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise UnfitError(_why(raw, error)) from error
        if (deep := depth(raw)) > MAX_DEPTH:
            raise UnfitError(_too_deep(deep))
        return _row(members, mapping)


class _Line(Wanted):
    """A line as a root: what is wanted of it is parsed at once."""

    deep = True

    def fragile(self, path: Path) -> str | None:  # noqa: ARG002 - it is known of the whole line
        return None

    def text(self, path: Path) -> str:
        return freed_text("j", path, "marked")

    def json(self, path: Path) -> str:
        return freed_json("j", path, "marked")

    def has(self, path: Path) -> str:
        return f"({member('j', path)} IS NOT NULL)"

    def rest(self, without: Sequence[str]) -> str:
        gone = quoted(msgspec.json.encode(dict.fromkeys(without)).decode())
        rest = f"CAST(try(json_merge_patch(l, {gone})) AS VARCHAR)"
        return f"CASE WHEN marked THEN {number_precision.freed(rest)} ELSE {rest} END"


def _decoded(line: bytes) -> object:
    """A line as a value; whole numbers that are too long for msgspec stay texts, as only names and
    shapes of a sample matter."""
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        if "out of range" not in str(error):
            raise
    try:
        return json.loads(line, parse_int=str, parse_float=str)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error


def _suspect(texts: pl.Series) -> pl.Series:
    """Lines that DuckDB would take and JSON doesn't have: nested too deep, or with NaN or Infinity."""
    suspect = texts.str.contains(raw_json.NOT_FINITE).fill_null(value=False)
    long = texts.str.len_bytes() > 2 * MAX_DEPTH
    if not long.any():
        return suspect
    brackets = texts.set(~long, "").str.count_matches(r"[\[{]")
    return suspect | (brackets > MAX_DEPTH)


def _row(members: Members, mapping: FieldMapping) -> dict[str, str | None]:
    """What the SQL does, for one line that it can't read."""
    reader = _Members(members)
    if mapping.skips is not None and reader.text(value(mapping.skips, reader)) in TRUE:
        raise UnfitError(f"{mapping.envelopes[0]} passes over it")
    row: dict[str, str | None] = {}
    for field in FIELDS:
        expression = mapping.expression(field)
        found = None if expression is None else value(expression, reader)
        row[field] = _json(found) if field in PAYLOADS else reader.text(found)
    if any(reader.at(path) is None for path in mapping.fits):
        row["data"], row["type"] = None if mapping.redacted else _json(members), None
        row["meta"] = None if mapping.redacted else row["meta"]
    if row["meta"] == "{}" and isinstance(mapping.expression("meta"), Rest):
        row["meta"] = None
    return row


class _Members:
    """A line's members as raw JSON, so that numbers keep their digits."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def at(self, path: Path) -> Any:
        there = walk(self._members, path, _opened)
        return None if isinstance(there, msgspec.Raw) and bytes(there) == b"null" else there

    def opened(self, there: Any) -> Any:
        return _opened(there)

    def text(self, there: Any) -> str | None:
        if there is None or isinstance(there, str):
            return there
        if not isinstance(there, msgspec.Raw):
            return _json(there)
        text = bytes(there).decode()
        return str(msgspec.json.decode(text)) if text.startswith('"') else text


def _opened(there: Any) -> Any:
    """The members of an object, the items of a list, also of those that a string holds."""
    if not isinstance(there, msgspec.Raw):
        return there
    raw = bytes(there)
    try:
        if raw[:1] == b'"':
            raw = msgspec.json.decode(raw).encode()
        if raw[:1] == b"{":
            return raw_json.members(raw)
        if raw[:1] == b"[":
            return raw_json.items(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    return there


def _json(there: Any) -> str | None:
    """The JSON text of what was reached, with its numbers as they stand."""
    if there is None:
        return None
    if isinstance(there, msgspec.Raw):
        # Text that holds an object or a list is taken for what it holds.
        raw = _flat(there).encode()
        if raw[:1] == b'"' and not isinstance(_opened(there), msgspec.Raw):
            return str(msgspec.json.decode(raw))
        return raw.decode()
    if isinstance(there, dict):
        members = (f"{_name(n)}:{_flat(v)}" for n, v in there.items())
        return "{" + ",".join(members) + "}"
    if isinstance(there, list):
        return "[" + ",".join(map(_flat, there)) + "]"
    return msgspec.json.encode(there).decode()


def _flat(raw: msgspec.Raw) -> str:
    """A value in one line; its digits stay."""
    text = bytes(raw)
    return (msgspec.json.format(text, indent=-1) if b"\n" in text else text).decode()


def _name(name: str) -> str:
    return msgspec.json.encode(name).decode()


def _why(text: str, error: Exception) -> str:
    if isinstance(error, RecursionError) or "recursion" in str(error):
        return _too_deep(depth(text))
    if isinstance(error, msgspec.ValidationError):
        return "not a JSON object"
    reason = str(error).removeprefix("JSON is malformed: ")
    return f"not valid JSON: {reason}" if reason else "not valid JSON"


def _too_deep(deep: int) -> str:
    return f"nested {deep:,} deep; at most {MAX_DEPTH} is taken"


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


def depth(text: str) -> int:
    """How deep arrays and objects are nested in a JSON text, well-formed or not."""
    now = deepest = 0
    for token in _TOKENS.finditer(text):
        first = token[0][0]
        if first in "[{":
            now += 1
            deepest = max(deepest, now)
        elif first in "]}":
            now -= 1
    return deepest
