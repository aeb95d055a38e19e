"""Finding the mapping for the records of a source: envelopes are unwrapped in turn, then names tell.

What a person gives always holds. At least half of the records looked at must be in an envelope for it
to be taken for one; those that aren't keep all of themselves as `data`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from storage.errors import SourceError
from storage.ingest.envelopes import ENVELOPES
from storage.ingest.envelopes.envelope import Envelope
from storage.ingest.io import timestamps
from storage.ingest.mapping import FIELDS, FieldMapping, Record, Source, path_of
from storage.ingest.mapping.column_guess import guess, plain
from storage.ingest.mapping.expressions import (
    At,
    Expression,
    First,
    Header,
    Leaf,
    Path,
    Rest,
    at_path,
    changed,
    leaves,
    of_record,
    opened,
    value_at,
)

_ENOUGH = 0.5
"""Share of the records that must be in an envelope."""
_MOST_LAYERS = 4


def detect(records: Sequence[Record], given: Mapping[str, str], whole_log: str) -> FieldMapping:
    """The mapping for records like these; `given` is what the person said, by field.

    Raises `SourceError` where `given` names a field that events don't have or a column that no
    record of the sample has.
    """
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    said = _given(records, given, columns)
    mapping = _unwrapped(records, said, columns)
    if mapping is None:
        mapping = FieldMapping(_with_the_rest(guess(records, said), columns), columns)
    mapping = replace(
        mapping, whole_log=whole_log, texts=_texts(records, mapping), fields=_in_order(mapping)
    )
    if mapping.has("time"):
        mapping = replace(mapping, time_notation=_notation(records, mapping))
    return mapping


def _with_the_rest(fields: dict[str, Source], columns: Sequence[str]) -> dict[str, Source]:
    """What stands beside the data in no field is meta, where there is none: nothing of an event is lost."""
    all_leaves = (leaf for source in fields.values() for leaf in leaves(source.expression))
    used = {str(leaf.path[0]) for leaf in all_leaves if leaf.path}
    if "data" not in fields or "meta" in fields or used.issuperset(columns):
        return fields
    return {**fields, "meta": Source(Rest((), tuple(sorted(used))), "rest")}


def _given(
    records: Sequence[Record], given: Mapping[str, str], columns: Sequence[str]
) -> dict[str, Source]:
    fields = {}
    for field, column in given.items():
        if field not in FIELDS:
            raise SourceError(
                f"An event has no field {field!r}; --map takes one of {', '.join(FIELDS)}."
            )
        path = path_of(column, columns)
        if not any(value_at(record, path) is not None for record in records):
            raise SourceError(
                f"No record has a column {column!r} for --map {field}={column};"
                f" there are: {', '.join(columns) or 'none'}."
            )
        fields[field] = Source(At(path), "given")
    return fields


def _unwrapped(
    records: Sequence[Record], given: Mapping[str, Source], columns: tuple[str, ...]
) -> FieldMapping | None:
    """What the envelopes tell, from outside in; None where there is none."""
    found: list[Envelope] = []
    fields: dict[str, Source] = {}
    kept: set[str] = set()
    path: Path = ()
    inside: Sequence[Record] = records
    fits: tuple[Path, ...] = ()
    skips: Expression | None = None
    while len(found) < _MOST_LAYERS:
        envelope = recognise(inside)
        if envelope is None:
            break
        there = _resolved(envelope, inside)
        fields = _merged(fields, there, path, envelope.name, kept)
        kept.update(name for name in envelope.keeps if name in there)
        if not found:
            fits = _signature(envelope, inside)
        if envelope.skips is not None and not path:
            skips = changed(envelope.skips, partial(_here, _names(inside)))
        found.append(envelope)
        if not envelope.inner:
            break
        member = _named(envelope.inner, _names(inside))
        path += (member,)
        inside = _inside(inside, member)
        if not inside:
            break
    if not found:
        return None
    if found[-1].inner and inside:
        fields = _merged(fields, _plain_inside(inside), path, "name", kept)
    fields = {**fields, **given}
    return FieldMapping(
        fields=fields,
        columns=columns,
        envelopes=tuple(envelope.name for envelope in found),
        fits=fits if "data" not in given and "data" in fields else (),
        skips=skips,
        order=found[0].order,
        newest_first=found[0].newest_first and _backwards(records, fields),
    )


def _backwards(records: Sequence[Record], fields: Mapping[str, Source]) -> bool:
    if "offset" not in fields:
        return False
    offsets = [of_record(fields["offset"].expression, record) for record in records]
    numbers = [int(text) for text in map(str, offsets) if text.isdigit()]
    return len(numbers) > 1 and numbers == sorted(numbers, reverse=True)


def recognise(records: Sequence[Record]) -> Envelope | None:
    """The envelope in which most of these records are, if that is enough of them."""
    best, most = None, 0
    shapes = _shapes(records)
    for envelope in ENVELOPES:
        count = sum(len(_held(envelope, alike)) for alike in shapes if envelope.may_hold(alike[0]))
        if count > most:
            best, most = envelope, count
    return best if records and most >= _ENOUGH * len(records) else None


def _shapes(records: Sequence[Record]) -> list[list[Record]]:
    """The records whose members have the same names together: most logs have few such shapes."""
    shapes: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        shapes.setdefault(tuple(record), []).append(record)
    return list(shapes.values())


def _held(envelope: Envelope, alike: Sequence[Record]) -> list[Record]:
    """Those of one shape that look as the envelope's records do."""
    names = {name: plain(name) for name in alike[0]}
    return [one for one in alike if envelope.looks({names[n]: v for n, v in one.items()})]


def _signature(envelope: Envelope, records: Sequence[Record]) -> tuple[Path, ...]:
    """The members that all records of an envelope have."""
    fitting = [
        record
        for alike in _shapes(records)
        if envelope.may_hold(alike[0])
        for record in _held(envelope, alike)
    ]
    always = (name for name in envelope.requires if name not in envelope.optional)
    required = [_named(name, _names(records)) for name in always]
    return tuple(
        (name,) for name in required if all(record.get(name) is not None for record in fitting)
    )


def _names(records: Sequence[Record]) -> dict[str, str]:
    """The names that records have, by how they are compared."""
    return {plain(name): name for record in reversed(records) for name in record}


def _named(name: str, names: Mapping[str, str]) -> str:
    """A documented name as these records write it."""
    return name if name in names.values() else names.get(plain(name), name)


_NUMBERED = ("stream", "revision")
"""Fields that refold makes up where no record has one."""


def _resolved(envelope: Envelope, records: Sequence[Record]) -> dict[str, Expression]:
    """The fields that an envelope's records have, under the names that they have here."""
    fields = envelope.fields(records) if callable(envelope.fields) else envelope.fields
    names = _names(records)
    known = {field: changed(e, partial(_known_here, names)) for field, e in fields.items()}
    there = {
        field: expression
        for field, expression in known.items()
        if expression is not None and _is_there(expression, records, must=field in _NUMBERED)
    }
    used = {
        str(leaf.path[0])
        for expression in there.values()
        for leaf in leaves(expression)
        if leaf.path
    }
    left = tuple(sorted(used & set(names.values())))
    return {f: changed(e, partial(_but_for, left)) or e for f, e in there.items()}


def _but_for(used: tuple[str, ...], leaf: Leaf) -> Leaf:
    """`Rest` of a record means what no other field takes."""
    return Rest((), used) if leaf == Rest((), ()) else leaf


def _here(names: Mapping[str, str], leaf: Leaf) -> Leaf:
    """A leaf under the name that its member has in these records."""
    if not leaf.path:
        return leaf
    return at_path(leaf, (_named(str(leaf.path[0]), names), *leaf.path[1:]))


def _known_here(names: Mapping[str, str], leaf: Leaf) -> Leaf | None:
    """The same; None where no record of the sample has the member."""
    found = _here(names, leaf)
    return found if not found.path or found.path[0] in names.values() else None


def _is_there(expression: Expression, records: Sequence[Record], *, must: bool) -> bool:
    deep = any(isinstance(leaf, Header) or len(leaf.path) > 1 for leaf in leaves(expression))
    if must or deep:
        return any(of_record(expression, record) is not None for record in records)
    return True


def _merged(
    outer: Mapping[str, Source],
    inner: Mapping[str, Expression],
    path: Path,
    why: str,
    kept: set[str],
) -> dict[str, Source]:
    """What lies inside counts more, and what is outside stands in for it where it is missing."""
    fields = dict(outer)
    for field, expression in inner.items():
        if field in kept:
            continue
        deeper = _under(path, expression)
        before = fields.get(field)
        if before is not None:
            both = before.expression.of if isinstance(before.expression, First) else ()
            deeper = First((deeper, *(both or (before.expression,))))
        fields[field] = Source(deeper, why)
    return fields


def _under(path: Path, expression: Expression) -> Expression:
    """The same over records that lie at a path of other records."""
    return changed(expression, lambda leaf: at_path(leaf, path + leaf.path)) or expression


def _inside(records: Sequence[Record], member: str) -> list[Record]:
    """What lies in a member, where enough of the records have an object there."""
    there: list[Any] = [opened(record.get(member)) for record in records]
    found: list[Record] = [one for one in there if isinstance(one, dict)]
    there = [one for one in there if one is not None]
    return found if len(found) >= _ENOUGH * len(there) else []


_TOLD_INSIDE = ("type", "id", "revision", "version", "correlation_id", "causation_id", "time")


def _plain_inside(records: Sequence[Record]) -> dict[str, Expression]:
    """What the names tell of values in no envelope that is known: an event of its own, or its data."""
    told = {field: source.expression for field, source in guess(records, {}).items()}
    whole = {"type", "data"} <= set(told)
    wanted = (*_TOLD_INSIDE, "stream", "data") if whole else _TOLD_INSIDE
    return {field: told[field] for field in wanted if field in told} if "type" in told else {}


def _texts(records: Sequence[Record], mapping: FieldMapping) -> frozenset[Path]:
    """The prefixes of paths at which text lies that holds JSON."""
    paths = {
        leaf.path[:n]
        for source in mapping.fields.values()
        for leaf in leaves(source.expression)
        for n in range(1, len(leaf.path) + 1)
    }
    inside: dict[Path, list[Any]] = {(): list(records)}
    found = set()
    for path in sorted(paths, key=len):
        there = [value_at(one, path[-1:]) for one in inside[path[:-1]]]
        inside[path] = [opened(one) for one in there]
        both = zip(there, inside[path], strict=True)
        if any(isinstance(t, (str, bytes)) and isinstance(o, (dict, list)) for t, o in both):
            found.add(path)
    return frozenset(found)


def _in_order(mapping: FieldMapping) -> dict[str, Source]:
    return {field: mapping.fields[field] for field in FIELDS if field in mapping.fields}


def _notation(records: Sequence[Record], mapping: FieldMapping) -> str:
    expression = mapping.fields["time"].expression
    values = [of_record(expression, record) for record in records]
    how = timestamps.notation(values)
    if how is None:
        return "iso" if any(isinstance(value, str) for value in values) else "epoch_s"
    return how
