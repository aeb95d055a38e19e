"""Detect the mapping for the records of a source: unwrap known envelopes, then guess from names.

A field that the user gives with --map always wins. An envelope is recognised if at least half of the
sampled records are in it; a record that isn't becomes `data` as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from storage.errors import SourceError
from storage.ingest.envelopes import ENVELOPES
from storage.ingest.envelopes.envelope import Envelope
from storage.ingest.io import timestamps
from storage.ingest.mapping import FIELDS, FieldMapping, FieldSource, Record, parse_path
from storage.ingest.mapping.column_guess import guess_fields, normalize_name
from storage.ingest.mapping.expressions import (
    Expression,
    FieldPath,
    FirstPresent,
    HeaderValue,
    Leaf,
    PathValue,
    RemainingMembers,
    evaluate_record,
    get_value,
    iterate_leaves,
    map_leaves,
    parse_embedded_json,
    with_path,
)

_MIN_SHARE = 0.5
"""Share of the sampled records that must be in an envelope, from 0 to 1."""
_MAX_LAYERS = 4
"""Maximum number of envelopes inside each other."""


def detect_mapping(
    records: Sequence[Record], given: Mapping[str, str], whole_log: str
) -> FieldMapping:
    """Return the mapping for records like these.

    `given` holds the columns that the user gave, by field; `whole_log` is the stream of all events
    if the records name none. Raises `SourceError` if `given` names a field that events don't have,
    or a column that no record has.
    """
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    given_fields = _given_fields(records, given, columns)
    mapping = _unwrap_envelopes(records, given_fields, columns)
    if mapping is None:
        mapping = FieldMapping(
            _map_rest_to_meta(guess_fields(records, given_fields), columns), columns
        )
    mapping = replace(
        mapping,
        whole_log=whole_log,
        texts=_find_json_text_paths(records, mapping),
        fields=_sort_fields(mapping),
    )
    if mapping.has_field("time"):
        mapping = replace(mapping, time_notation=_detect_time_notation(records, mapping))
    return mapping


def _map_rest_to_meta(
    fields: dict[str, FieldSource], columns: Sequence[str]
) -> dict[str, FieldSource]:
    """Map unmapped columns to `meta` if `data` is mapped and `meta` isn't, to lose no column."""
    all_leaves = (leaf for source in fields.values() for leaf in iterate_leaves(source.expression))
    used = {str(leaf.path[0]) for leaf in all_leaves if leaf.path}
    if "data" not in fields or "meta" in fields or used.issuperset(columns):
        return fields
    return {**fields, "meta": FieldSource(RemainingMembers((), tuple(sorted(used))), "rest")}


def _given_fields(
    records: Sequence[Record], given: Mapping[str, str], columns: Sequence[str]
) -> dict[str, FieldSource]:
    fields = {}
    for field, column in given.items():
        if field not in FIELDS:
            raise SourceError(
                f"An event has no field {field!r}. Give --map one of {', '.join(FIELDS)}."
            )
        path = parse_path(column, columns)
        if not any(get_value(record, path) is not None for record in records):
            raise SourceError(
                f"No record has a column {column!r} for --map {field}={column}. Columns:"
                f" {', '.join(columns) or 'none'}."
            )
        fields[field] = FieldSource(PathValue(path), "given")
    return fields


def _unwrap_envelopes(
    records: Sequence[Record], given: Mapping[str, FieldSource], columns: tuple[str, ...]
) -> FieldMapping | None:
    """Return the mapping that the envelopes give, from outside in; None if there is no envelope."""
    envelopes: list[Envelope] = []
    fields: dict[str, FieldSource] = {}
    kept_fields: set[str] = set()
    path: FieldPath = ()
    inner_records: Sequence[Record] = records
    required_paths: tuple[FieldPath, ...] = ()
    skips: Expression | None = None
    while len(envelopes) < _MAX_LAYERS:
        envelope = recognise_envelope(inner_records)
        if envelope is None:
            break
        resolved = _resolve_envelope_fields(envelope, inner_records)
        fields = _merge_fields(fields, resolved, path, envelope.name, kept_fields)
        kept_fields.update(name for name in envelope.overriding_fields if name in resolved)
        if not envelopes:
            required_paths = _required_paths(envelope, inner_records)
        if envelope.skip_condition is not None and not path:
            skips = map_leaves(
                envelope.skip_condition, partial(_rename_leaf, _names_by_normalized(inner_records))
            )
        envelopes.append(envelope)
        if not envelope.inner_member:
            break
        member = _actual_name(envelope.inner_member, _names_by_normalized(inner_records))
        path += (member,)
        inner_records = _unwrap_member(inner_records, member)
        if not inner_records:
            break
    if not envelopes:
        return None
    if envelopes[-1].inner_member and inner_records:
        fields = _merge_fields(
            fields, _guess_inner_fields(inner_records), path, "name", kept_fields
        )
    fields = {**fields, **given}
    return FieldMapping(
        fields=fields,
        columns=columns,
        envelope_names=tuple(envelope.name for envelope in envelopes),
        required_paths=required_paths if "data" not in given and "data" in fields else (),
        skip_condition=skips,
        order_description=envelopes[0].order_description,
        is_newest_first=envelopes[0].is_newest_first and _is_newest_first(records, fields),
    )


def _is_newest_first(records: Sequence[Record], fields: Mapping[str, FieldSource]) -> bool:
    if "offset" not in fields:
        return False
    offsets = [evaluate_record(fields["offset"].expression, record) for record in records]
    numbers = [int(text) for text in map(str, offsets) if text.isdigit()]
    return len(numbers) > 1 and numbers == sorted(numbers, reverse=True)


def recognise_envelope(records: Sequence[Record]) -> Envelope | None:
    """Return the envelope of most records; None if fewer than half of them are in one envelope."""
    best, most = None, 0
    shapes = _group_by_shape(records)
    for envelope in ENVELOPES:
        count = sum(
            len(_matching_records(envelope, alike))
            for alike in shapes
            if envelope.may_contain(alike[0])
        )
        if count > most:
            best, most = envelope, count
    return best if records and most >= _MIN_SHARE * len(records) else None


def _group_by_shape(records: Sequence[Record]) -> list[list[Record]]:
    """Group records by their member names; most logs have few such shapes."""
    shapes: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        shapes.setdefault(tuple(record), []).append(record)
    return list(shapes.values())


def _matching_records(envelope: Envelope, records: Sequence[Record]) -> list[Record]:
    """Return those records of one shape whose values match the envelope."""
    names = {name: normalize_name(name) for name in records[0]}
    return [
        one for one in records if envelope.matches_values({names[n]: v for n, v in one.items()})
    ]


def _required_paths(envelope: Envelope, records: Sequence[Record]) -> tuple[FieldPath, ...]:
    """Return the paths of the members that all sampled records of an envelope have."""
    matching = [
        record
        for alike in _group_by_shape(records)
        if envelope.may_contain(alike[0])
        for record in _matching_records(envelope, alike)
    ]
    always = (name for name in envelope.required_members if name not in envelope.optional_members)
    required = [_actual_name(name, _names_by_normalized(records)) for name in always]
    return tuple(
        (name,) for name in required if all(record.get(name) is not None for record in matching)
    )


def _names_by_normalized(records: Sequence[Record]) -> dict[str, str]:
    """Return the records' member names by normalized name."""
    return {normalize_name(name): name for record in reversed(records) for name in record}


def _actual_name(name: str, names: Mapping[str, str]) -> str:
    """Return the spelling that these records use for a documented name."""
    return name if name in names.values() else names.get(normalize_name(name), name)


_STORE_ASSIGNED_FIELDS = ("stream", "revision")
"""Fields that refold assigns itself if no record has them."""


def _resolve_envelope_fields(
    envelope: Envelope, records: Sequence[Record]
) -> dict[str, Expression]:
    """Return the expressions of the envelope's fields that these records have, in their spelling."""
    fields = envelope.fields(records) if callable(envelope.fields) else envelope.fields
    names = _names_by_normalized(records)
    renamed = {
        field: map_leaves(e, partial(_rename_existing_leaf, names)) for field, e in fields.items()
    }
    present = {
        field: expression
        for field, expression in renamed.items()
        if expression is not None
        and _has_values(expression, records, must_have_value=field in _STORE_ASSIGNED_FIELDS)
    }
    used = {
        str(leaf.path[0])
        for expression in present.values()
        for leaf in iterate_leaves(expression)
        if leaf.path
    }
    left = tuple(sorted(used & set(names.values())))
    return {f: map_leaves(e, partial(_exclude_used, left)) or e for f, e in present.items()}


def _exclude_used(used_names: tuple[str, ...], leaf: Leaf) -> Leaf:
    """Exclude the used members from a `RemainingMembers` of the whole record."""
    return RemainingMembers((), used_names) if leaf == RemainingMembers((), ()) else leaf


def _rename_leaf(names: Mapping[str, str], leaf: Leaf) -> Leaf:
    """Return the leaf with its first member in the spelling of these records."""
    if not leaf.path:
        return leaf
    return with_path(leaf, (_actual_name(str(leaf.path[0]), names), *leaf.path[1:]))


def _rename_existing_leaf(names: Mapping[str, str], leaf: Leaf) -> Leaf | None:
    """Return the leaf in the spelling of these records; None if no record has the member."""
    renamed = _rename_leaf(names, leaf)
    return renamed if not renamed.path or renamed.path[0] in names.values() else None


def _has_values(
    expression: Expression, records: Sequence[Record], *, must_have_value: bool
) -> bool:
    deep = any(
        isinstance(leaf, HeaderValue) or len(leaf.path) > 1 for leaf in iterate_leaves(expression)
    )
    if must_have_value or deep:
        return any(evaluate_record(expression, record) is not None for record in records)
    return True


def _merge_fields(
    outer: Mapping[str, FieldSource],
    inner: Mapping[str, Expression],
    path: FieldPath,
    reason: str,
    kept_fields: set[str],
) -> dict[str, FieldSource]:
    """Merge the fields of an inner record at `path`; the outer value is used if the inner is absent.

    Fields in `kept_fields` keep their outer expression.
    """
    fields = dict(outer)
    for field, expression in inner.items():
        if field in kept_fields:
            continue
        nested = _prefix_paths(path, expression)
        before = fields.get(field)
        if before is not None:
            both = before.expression.operands if isinstance(before.expression, FirstPresent) else ()
            nested = FirstPresent((nested, *(both or (before.expression,))))
        fields[field] = FieldSource(nested, reason)
    return fields


def _prefix_paths(path: FieldPath, expression: Expression) -> Expression:
    """Return the expression for records that lie at `path` inside outer records."""
    return map_leaves(expression, lambda leaf: with_path(leaf, path + leaf.path)) or expression


def _unwrap_member(records: Sequence[Record], member: str) -> list[Record]:
    """Return the objects in a member; empty if fewer than half of its values are objects."""
    values: list[Any] = [parse_embedded_json(record.get(member)) for record in records]
    objects: list[Record] = [value for value in values if isinstance(value, dict)]
    values = [value for value in values if value is not None]
    return objects if len(objects) >= _MIN_SHARE * len(values) else []


_INNER_FIELDS = ("type", "id", "revision", "version", "correlation_id", "causation_id", "time")


def _guess_inner_fields(records: Sequence[Record]) -> dict[str, Expression]:
    """Guess fields of the innermost records, which are in no known envelope.

    Records with a type and data are events, and give stream and data too. Records without a type
    are the data of an event and give no field.
    """
    guessed = {field: source.expression for field, source in guess_fields(records, {}).items()}
    is_event = {"type", "data"} <= set(guessed)
    fields = (*_INNER_FIELDS, "stream", "data") if is_event else _INNER_FIELDS
    return (
        {field: guessed[field] for field in fields if field in guessed} if "type" in guessed else {}
    )


def _find_json_text_paths(records: Sequence[Record], mapping: FieldMapping) -> frozenset[FieldPath]:
    """Return the prefixes of mapped paths at which a text holds JSON."""
    paths = {
        leaf.path[:n]
        for source in mapping.fields.values()
        for leaf in iterate_leaves(source.expression)
        for n in range(1, len(leaf.path) + 1)
    }
    inside: dict[FieldPath, list[Any]] = {(): list(records)}
    json_text_paths = set()
    for path in sorted(paths, key=len):
        values = [get_value(one, path[-1:]) for one in inside[path[:-1]]]
        inside[path] = [parse_embedded_json(one) for one in values]
        both = zip(values, inside[path], strict=True)
        if any(isinstance(t, (str, bytes)) and isinstance(o, (dict, list)) for t, o in both):
            json_text_paths.add(path)
    return frozenset(json_text_paths)


def _sort_fields(mapping: FieldMapping) -> dict[str, FieldSource]:
    return {field: mapping.fields[field] for field in FIELDS if field in mapping.fields}


def _detect_time_notation(records: Sequence[Record], mapping: FieldMapping) -> str:
    expression = mapping.fields["time"].expression
    values = [evaluate_record(expression, record) for record in records]
    notation = timestamps.detect_notation(values)
    if notation is None:
        return "iso" if any(isinstance(value, str) for value in values) else "epoch_s"
    return notation
