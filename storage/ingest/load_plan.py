"""What a load will read: which files or rests of files, into what, by which mapping.

Decided before anything is written; a source that doesn't belong to the workspace is refused here.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from storage.errors import SourceError, WorkspaceError, one_line
from storage.ingest import payload_decoders, provenance, sources
from storage.ingest.format_detection import detect
from storage.ingest.formats import Reading
from storage.ingest.io import byte_streams, fingerprints
from storage.ingest.io.fingerprints import Change
from storage.ingest.mapping import FieldMapping, path_of
from storage.ingest.mapping.expressions import At
from storage.ingest.provenance import Origin
from storage.ingest.redaction import Redaction
from storage.ingest.sources import files, uris
from storage.ingest.sources.source_part import Piece
from storage.workspace import validation_cache, workspace
from storage.workspace.atomic_file import new_file, place_new, place_over_unlocked


@dataclass(frozen=True)
class Wish:
    """What a person asked for beside the source itself."""

    format: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """Event field to column, as given with --map."""
    decoders: Mapping[str, str] = field(default_factory=dict)
    """Event field to how it is decoded, as given with --decode."""
    redacted: tuple[str, ...] = ()
    """Paths that are redacted, as given with --redact."""
    order_by: str | None = None
    strict: bool = False
    replace: bool = False
    wait: float = 30.0
    unpackers: payload_decoders.Unpackers | None = None
    """Finds functions of the user's that decode, where one was named: no code runs that wasn't."""


@dataclass(frozen=True)
class Part:
    """A piece of the source, or the rest of one, that is to be read."""

    index: int
    piece: Piece
    reading: Reading
    continues: bool


@dataclass
class Plan:
    """A load that has been decided on: which bytes, into what, by which mapping."""

    parts: list[Part]
    mapping: FieldMapping
    format: str
    connection: Callable[[], Any]
    first_offset: int = 0
    fresh: bool = True
    based_on: Sequence[Origin] = ()
    """What the workspace held when it was decided."""


def fresh(target: Path, paths: Sequence[str], wish: Wish) -> Plan:
    looked = [sources.look(path, wish.format) for path in paths]
    named = sources.log_name(target.stem if files.is_spooled(paths[0]) else paths[0])
    mapping = _detected(looked, wish, named)
    parts = [Part(i, piece, Reading(piece.path), False) for i, piece in enumerate(looked)]
    place = place_over_unlocked(wish.wait) if target.exists() else place_new
    return Plan(parts, mapping, _format_name(looked, mapping), lambda: new_file(target, place))


def append(existing: workspace.Workspace, paths: Sequence[str], wish: Wish) -> Plan:
    with existing.reading() as connection:
        known = {k.print.path: k for k in provenance.known(connection)}
        mapping = _known_mapping(connection, existing.path)
        row = connection.execute('SELECT coalesce(max("offset") + 1, 0) FROM events').fetchone()
    first = row[0] if row else 0
    _refuse_unnamed_files(existing.path, mapping, wish)
    named = {sources.known_as(path): path for path in paths}
    if not set(known) & set(named):
        raise SourceError(
            f"{existing.path} holds another log ({next(iter(known), 'from elsewhere')});"
            " give another file with -o, or --replace to load this one instead."
        )
    given = {f: At(path_of(c, mapping.columns)) for f, c in wish.fields.items()}
    others = any(mapping.expression(f) != e for f, e in given.items())
    if (
        others
        or any(mapping.decoders.get(f) != how for f, how in wish.decoders.items())
        or (set(wish.redacted) - set(mapping.redacted))
    ):
        raise SourceError(
            f"{existing.path} was loaded with another mapping; --replace loads it anew with this one."
        )
    parts: list[Part] = []
    formats = [k.format for k in known.values()]
    unused = count(max((k.index for k in known.values()), default=-1) + 1)
    for full, path in named.items():
        before = known.get(full)
        if before is None:
            piece = sources.look(path, wish.format)
            formats.append(piece.format.name)
            parts.append(Part(next(unused), piece, Reading(piece.path), False))
            continue
        if uris.is_link(full):
            position = fingerprints.position(before.print)
            reading = Reading(
                full, before.print.taken, before.lines, taken=before.print.taken, position=position
            )
            parts.append(Part(before.index, sources.look(path), reading, True))
            continue
        # Standard input was written into another file than the last time.
        change = fingerprints.change(replace(before.print, path=path), thorough=True)
        if change is Change.REWRITTEN or (change is Change.GROWN and _was_torn(before, path)):
            raise SourceError(
                f"{path} no longer begins with the events that were loaded from it;"
                " --replace loads it anew."
            )
        if change is Change.GROWN or before.partial:
            reading = Reading(path, before.print.taken, before.lines, continues=before.partial)
            parts.append(Part(before.index, sources.look(path, before.format), reading, True))
    return Plan(
        parts,
        mapping,
        "+".join(dict.fromkeys((*formats, *mapping.envelopes))),
        existing.writing,
        first_offset=first,
        fresh=False,
        based_on=list(known.values()),
    )


def _known_mapping(connection: duckdb.DuckDBPyConnection, path: Path) -> FieldMapping:
    try:
        return FieldMapping.from_json(workspace.read_fact(connection, "mapping"))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise WorkspaceError(
            f"{path} doesn't say which field of its source is which; --replace loads it anew."
        ) from error


def _refuse_unnamed_files(path: Path, mapping: FieldMapping, wish: Wish) -> None:
    """Raise `SourceError` where a workspace that isn't the user's own names a schema to read."""
    for name, how in mapping.decoders.items():
        files_of = payload_decoders.files_in(how)
        if files_of and wish.decoders.get(name) != how and not validation_cache.is_own(path):
            raise SourceError(
                f"{path} came from elsewhere and names the file {files_of[0]} to decode {name} with;"
                f" give --decode {name}={how}, or agree with `refold trust {path}`."
            )


def _was_torn(before: Origin, path: str) -> bool:
    """The last row had no line break when it was taken, and has become longer since."""
    if not before.partial or before.format == "jsonl":
        return False
    stream, _ = byte_streams.open_bytes(path, before.print.taken)
    with stream:
        return stream.read(1) not in (b"\n", b"\r")


@contextmanager
def readable(paths: Sequence[str]) -> Iterator[list[str]]:
    """The same paths, with each stream written into a file: a sample is read before the whole.

    Streams are standard input and pipes, such as <(…), /dev/stdin and named pipes.
    """
    streams = [path for path in paths if files.is_stream(path)]
    if not streams:
        yield list(paths)
        return
    with tempfile.TemporaryDirectory(prefix=files.SPOOL) as folder:
        spooled = {}
        for number, path in enumerate(streams, 1):
            name = sources.STDIN if number == 1 else f"{sources.STDIN}{number}"
            spooled[path] = str(Path(folder) / name)
            byte_streams.spool_stream(path, Path(spooled[path]))
        try:
            yield [spooled.get(path, path) for path in paths]
        except SourceError as error:
            message = error.message
            for path, file in reversed(spooled.items()):
                said = "standard input" if path == sources.STDIN else path
                message = message.replace(file, said)
            raise SourceError(message) from error


def _detected(looked: Sequence[Piece], wish: Wish, named: str) -> FieldMapping:
    try:
        records = [record for piece in looked[:5] for record in piece.sample()]
    except duckdb.ConversionException as error:
        raise SourceError(
            f"{looked[0].path} holds a value that no workspace can hold ({one_line(error)})."
        ) from error
    if not records:
        raise SourceError(f"There is no event in {looked[0].path}; no line of it could be read.")
    payload_decoders.read(wish.decoders, wish.unpackers)  # else it would be refused in the middle
    Redaction(wish.redacted, b"")  # as above
    found = detect(records, wish.fields, named)
    packed = [name for name in wish.decoders if not found.has(name)]
    if packed:
        # Opaque text is no data to whoever looks for JSON; here a person says that it is.
        lost = [name for name in packed if not any(name in record for record in records)]
        if lost:
            raise SourceError(
                f"There is no column {lost[0]} to decode; say which it is with --map {lost[0]}=COLUMN."
            )
        found = detect(records, {**wish.fields, **{name: name for name in packed}}, named)
    return replace(found, decoders=wish.decoders, redacted=wish.redacted)


def _format_name(looked: Sequence[Piece], mapping: FieldMapping) -> str:
    """Transport and envelope, as `jsonl+debezium`."""
    names = (piece.format.name for piece in looked)
    return "+".join(dict.fromkeys((*names, *mapping.envelopes)))
