"""The format JSON Lines: one JSON object per line.

DuckDB parses whole batches. Only lines that it can't parse are parsed one by one, to repair them or
to give a reason. Numbers keep their text (see `storage.ingest.formats.number_precision`).
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from storage.ingest.formats import (
    LINE_COLUMN,
    MAX_DEPTH,
    SAMPLE_RECORDS,
    FieldSql,
    NotAnEventError,
    ReadPass,
    lines,
    number_precision,
)
from storage.ingest.formats.sql_compiler import (
    TRUE_TEXTS,
    CompiledMapping,
    RequestedPaths,
    member_json_sql,
    member_text_sql,
    struct_member_sql,
)
from storage.ingest.io import raw_json
from storage.ingest.io.raw_json import RawMembers
from storage.ingest.mapping import FIELDS, PAYLOAD_FIELDS, FieldMapping, Record
from storage.ingest.mapping.expressions import (
    FieldPath,
    RemainingMembers,
    evaluate_expression,
    walk_path,
)
from storage.quoting import quote_literal

_BATCH_ROWS = 65_536
_SCHEMA = pa.schema(
    [
        ("raw", pa.string()),
        ("l", pa.string()),
        ("marked", pa.bool_()),
        ("suspect", pa.bool_()),
        (LINE_COLUMN, pa.int64()),
    ]
)

# Few lines begin with whitespace, and trimming every line is slow.
_IS_OBJECT_SQL = "CASE WHEN starts_with(l, '{') THEN true ELSE starts_with(ltrim(l), '{') END"


class JsonLines:
    """JSON Lines (`.jsonl`, `.ndjson`): any file whose first line begins with an object."""

    name = "jsonl"
    is_whole_file = False

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002 - the bytes decide
        return head.removeprefix(lines.BYTE_ORDER_MARK).lstrip()[:1] == b"{"

    def read_sample(self, path: str, head: bytes) -> Sequence[Record]:  # noqa: ARG002 - the head suffices
        records = []
        for line in head.removeprefix(lines.BYTE_ORDER_MARK).splitlines():
            try:
                record = _decoded(line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                continue
            if isinstance(record, dict):
                records.append(record)
            if len(records) == SAMPLE_RECORDS:
                break
        return records

    def read_lines(self, reading: ReadPass) -> Iterator[lines.Lines]:
        """Yield the text and the number of each record."""
        return lines.read_lines(reading)

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - every line is read whole
        for chunk in self.read_lines(reading):
            texts = pl.Series(pl.from_arrow(chunk.texts))
            parsed, marked = number_precision.protect_numbers(chunk.texts, texts)
            columns = [
                chunk.texts,
                parsed,
                marked,
                _may_be_too_deep(texts).to_arrow(),
                chunk.numbers,
            ]
            whole = pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
            for start in range(0, whole.num_rows, _BATCH_ROWS):
                yield whole.slice(start, _BATCH_ROWS)

    def compile_fields(self, mapping: FieldMapping, schema: pa.Schema) -> FieldSql:  # noqa: ARG002 - all batches have the same schema
        line = _LineRow()
        compiled = CompiledMapping(mapping, line)
        if not (line.is_representable and compiled.is_representable):
            return FieldSql({}, is_good_sql="false", raw_sql="raw")
        return FieldSql(
            compiled.compile_fields(),
            is_good_sql=f"j IS NOT NULL AND NOT suspect AND {_IS_OBJECT_SQL}"
            f" AND {compiled.is_parsed_sql} AND NOT {compiled.is_skipped_sql}",
            raw_sql="raw",
            stages=(
                f"CASE WHEN NOT suspect THEN try(from_json(l, {line.structure_sql})) END AS j",
                *compiled.compile_stages(),
            ),
        )

    def repair_row(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:
        if not raw.strip() or (mapping.envelope_names and raw.strip() == "null"):
            return None  # a blank line, or a Kafka tombstone
        try:
            members = raw_json.parse_members(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise NotAnEventError(_reject_reason(raw, error)) from error
        if (nesting := measure_depth(raw)) > MAX_DEPTH:
            raise NotAnEventError(_too_deep_reason(nesting))
        return _repair_line(members, mapping)


class _LineRow(RequestedPaths):
    """A line of JSON, as the root from which `CompiledMapping` reads; parsed once per line."""

    reaches_into_objects = True

    def has_fragile_number_sql(self, path: FieldPath) -> str | None:  # noqa: ARG002 - the column `marked` says so for the whole line
        return None

    def text_sql(self, path: FieldPath) -> str:
        return member_text_sql("j", path, "marked")

    def json_sql(self, path: FieldPath) -> str:
        return member_json_sql("j", path, "marked")

    def has_value_sql(self, path: FieldPath) -> str:
        return f"({struct_member_sql('j', path)} IS NOT NULL)"

    def rest_sql(self, excluded: Sequence[str]) -> str:
        removed = quote_literal(msgspec.json.encode(dict.fromkeys(excluded)).decode())
        rest = f"CAST(try(json_merge_patch(l, {removed})) AS VARCHAR)"
        return f"CASE WHEN marked THEN {number_precision.free_numbers_sql(rest)} ELSE {rest} END"


def _decoded(line: bytes) -> object:
    """Return a line as a value.

    Integers that are too long for msgspec become text, because only names and shapes of a sample
    matter.
    """
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        if "out of range" not in str(error):
            raise
    try:
        return json.loads(line, parse_int=str, parse_float=str)
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error


def _may_be_too_deep(texts: pl.Series) -> pl.Series:
    """Return which lines may be nested too deep or hold NaN or Infinity, which DuckDB would accept."""
    suspect = texts.str.contains(raw_json.NOT_FINITE).fill_null(value=False)
    long = texts.str.len_bytes() > 2 * MAX_DEPTH
    if not long.any():
        return suspect
    brackets = texts.set(~long, "").str.count_matches(r"[\[{]")
    return suspect | (brackets > MAX_DEPTH)


def _repair_line(members: RawMembers, mapping: FieldMapping) -> dict[str, str | None]:
    """Return the fields of one line that the SQL can't read, by the rules of the SQL.

    Raises `NotAnEventError` if the mapping skips the record.
    """
    reader = _RawRecordReader(members)
    if (
        mapping.skip_condition is not None
        and reader.text_of(evaluate_expression(mapping.skip_condition, reader)) in TRUE_TEXTS
    ):
        raise NotAnEventError(f"{mapping.envelope_names[0]} marks the record as skipped")
    row: dict[str, str | None] = {}
    for field in FIELDS:
        expression = mapping.expression_for(field)
        value = None if expression is None else evaluate_expression(expression, reader)
        row[field] = _raw_to_json(value) if field in PAYLOAD_FIELDS else reader.text_of(value)
    if any(reader.get(path) is None for path in mapping.required_paths):
        row["data"], row["type"] = None if mapping.redacted else _raw_to_json(members), None
        row["meta"] = None if mapping.redacted else row["meta"]
    if row["meta"] == "{}" and isinstance(mapping.expression_for("meta"), RemainingMembers):
        row["meta"] = None
    return row


class _RawRecordReader:
    """A reader of a line's members as raw JSON, because raw numbers keep their digits."""

    def __init__(self, members: RawMembers) -> None:
        self._members = members

    def get(self, path: FieldPath) -> Any:
        value = walk_path(self._members, path, _parse_raw)
        return None if isinstance(value, msgspec.Raw) and bytes(value) == b"null" else value

    def parse_json(self, value: Any) -> Any:
        return _parse_raw(value)

    def text_of(self, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if not isinstance(value, msgspec.Raw):
            return _raw_to_json(value)
        text = bytes(value).decode()
        return str(msgspec.json.decode(text)) if text.startswith('"') else text


def _parse_raw(value: Any) -> Any:
    """Return the members of an object or the items of a list, also if a string holds it.

    Any other value is returned unchanged.
    """
    if not isinstance(value, msgspec.Raw):
        return value
    raw = bytes(value)
    try:
        if raw[:1] == b'"':
            raw = msgspec.json.decode(raw).encode()
        if raw[:1] == b"{":
            return raw_json.parse_members(raw)
        if raw[:1] == b"[":
            return raw_json.parse_items(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    return value


def _raw_to_json(value: Any) -> str | None:
    """Return the JSON text of a value, with its numbers as written."""
    if value is None:
        return None
    if isinstance(value, msgspec.Raw):
        # A string that holds an object or a list becomes that object or list.
        raw = _compact_json(value).encode()
        if raw[:1] == b'"' and not isinstance(_parse_raw(value), msgspec.Raw):
            return str(msgspec.json.decode(raw))
        return raw.decode()
    if isinstance(value, dict):
        members = (f"{_json_name(n)}:{_compact_json(v)}" for n, v in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_compact_json, value)) + "]"
    return msgspec.json.encode(value).decode()


def _compact_json(raw: msgspec.Raw) -> str:
    """Return the JSON of a value without line breaks; its numbers are unchanged."""
    text = bytes(raw)
    return (msgspec.json.format(text, indent=-1) if b"\n" in text else text).decode()


def _json_name(name: str) -> str:
    return msgspec.json.encode(name).decode()


def _reject_reason(text: str, error: Exception) -> str:
    if isinstance(error, RecursionError) or "recursion" in str(error):
        return _too_deep_reason(measure_depth(text))
    if isinstance(error, msgspec.ValidationError):
        return "not a JSON object"
    reason = str(error).removeprefix("JSON is malformed: ")
    return f"not valid JSON: {reason}" if reason else "not valid JSON"


def _too_deep_reason(nesting: int) -> str:
    return f"nested {nesting:,} deep; the limit is {MAX_DEPTH}"


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


def measure_depth(text: str) -> int:
    """Return how deep arrays and objects are nested in a JSON text, which may be invalid."""
    current = deepest = 0
    for token in _TOKENS.finditer(text):
        first = token[0][0]
        if first in "[{":
            current += 1
            deepest = max(deepest, current)
        elif first in "]}":
            current -= 1
    return deepest
