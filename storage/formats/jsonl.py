"""JSON lines: an object a line.

Set-based: DuckDB parses whole batches, and only lines that it refuses are looked at one by one, to
say why. Numbers keep their text (see `storage.formats.numbers`).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from storage.errors import SourceError
from storage.formats import MAX_DEPTH, SAMPLE, Fields, Reading, UnfitError, lines, numbers
from storage.mapping import FIELDS, FieldMapping, Record
from storage.quoting import quoted

_BATCH = 65_536
_PAYLOADS = ("data", "meta")
_SCHEMA = pa.schema(
    [
        ("raw", pa.string()),
        ("l", pa.string()),
        ("marked", pa.bool_()),
        ("suspect", pa.bool_()),
        ("line", pa.int64()),
    ]
)

# Few lines have blanks before them, and trimming all is dear.
_AN_OBJECT = "CASE WHEN starts_with(l, '{') THEN true ELSE starts_with(ltrim(l), '{') END"

_Object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonLines:
    """`.jsonl`, `.ndjson`, and whatever else has an object on its first line."""

    name = "jsonl"
    whole = False

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002 - the bytes decide
        return head.removeprefix(lines.BOM).lstrip()[:1] == b"{"

    def sample(self, path: str, head: bytes) -> Sequence[Record]:
        records = []
        for line in head.removeprefix(lines.BOM).splitlines():
            try:
                record = msgspec.json.decode(line)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                continue
            if isinstance(record, dict):
                records.append(record)
            if len(records) == SAMPLE:
                break
        begun = head.removeprefix(lines.BOM).lstrip()
        if not records and begun[:1] == b"{" and begun.count(b"\n") > 1:
            raise SourceError(
                f"{path} holds JSON over several lines; refold reads an object a line"
                " (`jq -c .` or `jq -c '.[]'` makes one)."
            )
        return records

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - every line is passed on
        for chunk in lines.read(reading):
            texts = pl.Series(pl.from_arrow(chunk.texts))
            parsed, marked = numbers.protected(chunk.texts, texts)
            columns = [chunk.texts, parsed, marked, _suspect(texts).to_arrow(), chunk.numbers]
            whole = pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)
            for start in range(0, whole.num_rows, _BATCH):
                yield whole.slice(start, _BATCH)

    def fields(self, mapping: FieldMapping) -> Fields:
        if _beyond_sql(mapping):
            return Fields({}, good="false", raw="raw")
        structure: dict[str, Any] = {}
        text = {}
        for field in FIELDS:
            column = mapping.column(field)
            if column is None:
                continue
            path = [column] if column in mapping.columns else column.split(".")
            _nest(structure, path, "JSON" if field in _PAYLOADS else "VARCHAR")
            value = "j" + "".join(f"[{quoted(part)}]" for part in path)
            if field in _PAYLOADS:
                value = f"CAST({value} AS VARCHAR)"
                text[field] = _if_marked(numbers.freed(value), value)
            else:
                text[field] = _if_marked(numbers.freed_scalar(value), value)
        if mapping.column("data") is None:
            gone = quoted(msgspec.json.encode(dict.fromkeys(mapping.taken)).decode())
            rest = f"CAST(json_merge_patch(l, {gone}) AS VARCHAR)"
            text["data"] = f"CASE WHEN good THEN {_if_marked(numbers.freed(rest), rest)} END"
        kinds = quoted(msgspec.json.encode(structure or {"offset": "VARCHAR"}).decode())
        return Fields(
            text,
            good=f"j IS NOT NULL AND NOT suspect AND {_AN_OBJECT}",
            raw="raw",
            parsed=f"CASE WHEN NOT suspect THEN try(from_json(l, {kinds})) END AS j",
        )

    def second_look(self, raw: str, mapping: FieldMapping) -> dict[str, str | None] | None:
        if not raw.strip():
            return None
        try:
            members = _Object.decode(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise UnfitError(_why(raw, error)) from error
        if (deep := depth(raw)) > MAX_DEPTH:
            raise UnfitError(_too_deep(deep))
        return _row(members, mapping)


def _beyond_sql(mapping: FieldMapping) -> bool:
    """Whether every line needs its second look, as DuckDB's structures can't hold such columns.

    They have no nameless member, none that differ in case only, and none that is text and
    structure at once.
    """
    columns = {source.column for source in mapping.fields.values()}
    paths = [(c,) if c in mapping.columns else tuple(c.split(".")) for c in columns]
    folded = [tuple(part.casefold() for part in path) for path in paths]
    nameless = any(not part for path in paths for part in path)
    prefixes = {path[:n] for path in folded for n in range(1, len(path))}
    outer = {path[:n] for path in paths for n in range(1, len(path))}
    clashing = len(set(folded)) < len(folded) or len(prefixes) < len(outer)
    return nameless or clashing or any(path in prefixes for path in folded)


def _if_marked(marked: str, plain: str) -> str:
    return f"CASE WHEN marked THEN {marked} ELSE {plain} END"


def _suspect(texts: pl.Series) -> pl.Series:
    """Lines with so many brackets that they may be nested too deep; DuckDB never sees them."""
    long = texts.str.len_bytes() > 2 * MAX_DEPTH
    if not long.any():
        return long
    brackets = texts.set(~long, "").str.count_matches(r"[\[{]")
    return brackets > MAX_DEPTH


def _nest(structure: dict[str, Any], path: Sequence[str], kind: str) -> None:
    for part in path[:-1]:
        inner = structure.setdefault(part, {})
        structure = inner if isinstance(inner, dict) else structure
    structure.setdefault(path[-1], kind)


def _row(members: dict[str, msgspec.Raw], mapping: FieldMapping) -> dict[str, str | None]:
    """What the SQL does, for one line whose strings hold what looks like a number's place."""
    row: dict[str, str | None] = {}
    for field in FIELDS:
        column = mapping.column(field)
        raw = None if column is None else _raw_at(members, column, mapping)
        row[field] = None if raw is None else _text(raw, json=field in _PAYLOADS)
    if mapping.column("data") is None:
        taken = set(mapping.taken)
        rest = [
            msgspec.json.encode(name).decode() + ":" + bytes(raw).decode()
            for name, raw in members.items()
            if name not in taken
        ]
        row["data"] = "{" + ",".join(rest) + "}"
    return row


def _raw_at(
    members: dict[str, msgspec.Raw], column: str, mapping: FieldMapping
) -> msgspec.Raw | None:
    if column in mapping.columns:
        return members.get(column)
    *outer, last = column.split(".")
    for part in outer:
        if part not in members:
            return None
        try:
            members = _Object.decode(members[part])
        except msgspec.DecodeError:
            return None
    return members.get(last)


def _text(raw: msgspec.Raw, *, json: bool) -> str | None:
    text = bytes(raw).decode()
    if json:
        return text
    if text == "null":
        return None
    return str(msgspec.json.decode(text)) if text.startswith('"') else text


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
