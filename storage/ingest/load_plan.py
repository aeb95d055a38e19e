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

from storage.errors import SourceError, WorkspaceError, summarize_error
from storage.ingest import payload_decoders, provenance, sources
from storage.ingest.format_detection import detect_mapping
from storage.ingest.formats import ReadPass
from storage.ingest.io import byte_streams, fingerprints
from storage.ingest.io.fingerprints import SourceChange
from storage.ingest.mapping import FieldMapping, parse_path
from storage.ingest.mapping.expressions import PathValue
from storage.ingest.provenance import Origin
from storage.ingest.redaction import Redaction
from storage.ingest.sources import files, uris
from storage.ingest.sources.source_part import SourcePart
from storage.workspace import validation_cache, workspace
from storage.workspace.atomic_file import place_new, place_over_unlocked, replace_atomically


@dataclass(frozen=True)
class LoadOptions:
    """What a person asked for beside the source itself."""

    format: str | None = None
    field_columns: Mapping[str, str] = field(default_factory=dict)
    """Event field to column, as given with --map."""
    decoders: Mapping[str, str] = field(default_factory=dict)
    """Event field to how it is decoded, as given with --decode."""
    redacted_paths: tuple[str, ...] = ()
    """Paths that are redacted, as given with --redact."""
    order_by: str | None = None
    is_strict: bool = False
    replace: bool = False
    wait_seconds: float = 30.0
    find_decoder: payload_decoders.DecoderFinder | None = None
    """Finds functions of the user's that decode, where one was named: no code runs that wasn't."""


@dataclass(frozen=True)
class PlannedPart:
    """A piece of the source, or the rest of one, that is to be read."""

    source_number: int
    source_part: SourcePart
    read_pass: ReadPass
    is_continued: bool


@dataclass
class LoadPlan:
    """A load that has been decided on: which bytes, into what, by which mapping."""

    parts: list[PlannedPart]
    mapping: FieldMapping
    format_name: str
    open_connection: Callable[[], Any]
    first_offset: int = 0
    is_new_workspace: bool = True
    known_origins: Sequence[Origin] = ()
    """What the workspace held when it was decided."""


def plan_new_workspace(target: Path, paths: Sequence[str], options: LoadOptions) -> LoadPlan:
    source_parts = [sources.open_part(path, options.format) for path in paths]
    log_name = sources.derive_log_name(target.stem if files.is_spooled(paths[0]) else paths[0])
    mapping = _detect_mapping(source_parts, options, log_name)
    parts = [
        PlannedPart(i, piece, ReadPass(piece.path), False) for i, piece in enumerate(source_parts)
    ]
    place = place_over_unlocked(options.wait_seconds) if target.exists() else place_new
    return LoadPlan(
        parts,
        mapping,
        _format_name(source_parts, mapping),
        lambda: replace_atomically(target, place),
    )


def plan_append(
    target: workspace.Workspace, paths: Sequence[str], options: LoadOptions
) -> LoadPlan:
    with target.reading() as connection:
        origins = {k.fingerprint.path: k for k in provenance.read_origins(connection)}
        mapping = _read_mapping(connection, target.path)
        row = connection.execute('SELECT coalesce(max("offset") + 1, 0) FROM events').fetchone()
    first_offset = row[0] if row else 0
    _refuse_unnamed_files(target.path, mapping, options)
    path_by_name = {sources.stored_name(path): path for path in paths}
    if not set(origins) & set(path_by_name):
        raise SourceError(
            f"{target.path} holds another log ({next(iter(origins), 'from elsewhere')});"
            " give another file with -o, or --replace to load this one instead."
        )
    given = {f: PathValue(parse_path(c, mapping.columns)) for f, c in options.field_columns.items()}
    has_other_mapping = any(mapping.expression_for(f) != e for f, e in given.items())
    if (
        has_other_mapping
        or any(mapping.decoders.get(f) != how for f, how in options.decoders.items())
        or (set(options.redacted_paths) - set(mapping.redacted))
    ):
        raise SourceError(
            f"{target.path} was loaded with another mapping; --replace loads it anew with this one."
        )
    parts: list[PlannedPart] = []
    formats = [k.format for k in origins.values()]
    unused_numbers = count(max((k.source_number for k in origins.values()), default=-1) + 1)
    for full, path in path_by_name.items():
        before = origins.get(full)
        if before is None:
            source_part = sources.open_part(path, options.format)
            formats.append(source_part.format.name)
            parts.append(
                PlannedPart(next(unused_numbers), source_part, ReadPass(source_part.path), False)
            )
            continue
        if uris.is_uri(full):
            position = fingerprints.read_position(before.fingerprint)
            read_pass = ReadPass(
                full,
                before.fingerprint.consumed,
                before.line_count,
                consumed=before.fingerprint.consumed,
                source_position=position,
            )
            parts.append(
                PlannedPart(before.source_number, sources.open_part(path), read_pass, True)
            )
            continue
        # Standard input was written into another file than the last time.
        change = fingerprints.detect_change(replace(before.fingerprint, path=path), reads_file=True)
        if change is SourceChange.REWRITTEN or (
            change is SourceChange.GROWN and _has_torn_row_grown(before, path)
        ):
            raise SourceError(
                f"{path} no longer begins with the events that were loaded from it;"
                " --replace loads it anew."
            )
        if change is SourceChange.GROWN or before.ends_without_line_break:
            read_pass = ReadPass(
                path,
                before.fingerprint.consumed,
                before.line_count,
                starts_inside_line=before.ends_without_line_break,
            )
            parts.append(
                PlannedPart(
                    before.source_number, sources.open_part(path, before.format), read_pass, True
                )
            )
    return LoadPlan(
        parts,
        mapping,
        "+".join(dict.fromkeys((*formats, *mapping.envelope_names))),
        target.writing,
        first_offset=first_offset,
        is_new_workspace=False,
        known_origins=list(origins.values()),
    )


def _read_mapping(connection: duckdb.DuckDBPyConnection, path: Path) -> FieldMapping:
    try:
        return FieldMapping.from_json(workspace.read_metadata(connection, "mapping"))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise WorkspaceError(
            f"{path} doesn't say which field of its source is which; --replace loads it anew."
        ) from error


def _refuse_unnamed_files(path: Path, mapping: FieldMapping, wish: LoadOptions) -> None:
    """Raise `SourceError` where a workspace that isn't the user's own names a schema to read."""
    for name, how in mapping.decoders.items():
        files_of = payload_decoders.files_in(how)
        if files_of and wish.decoders.get(name) != how and not validation_cache.is_own(path):
            raise SourceError(
                f"{path} came from elsewhere and names the file {files_of[0]} to decode {name} with;"
                f" give --decode {name}={how}, or agree with `refold trust {path}`."
            )


def _has_torn_row_grown(origin: Origin, path: str) -> bool:
    """The last row had no line break when it was taken, and has become longer since."""
    if not origin.ends_without_line_break or origin.format == "jsonl":
        return False
    stream, _ = byte_streams.open_bytes(path, origin.fingerprint.consumed)
    with stream:
        return stream.read(1) not in (b"\n", b"\r")


@contextmanager
def spool_standard_input(paths: Sequence[str]) -> Iterator[list[str]]:
    """The same paths, with each stream written into a file: a sample is read before the whole.

    Streams are standard input and pipes, such as <(…), /dev/stdin and named pipes.
    """
    streams = [path for path in paths if files.is_stream(path)]
    if not streams:
        yield list(paths)
        return
    with tempfile.TemporaryDirectory(prefix=files.SPOOL_PREFIX) as folder:
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


def _detect_mapping(
    source_parts: Sequence[SourcePart], options: LoadOptions, log_name: str
) -> FieldMapping:
    try:
        records = [record for piece in source_parts[:5] for record in piece.read_sample()]
    except duckdb.ConversionException as error:
        raise SourceError(
            f"{source_parts[0].path} holds a value that no workspace can hold ({summarize_error(error)})."
        ) from error
    if not records:
        raise SourceError(
            f"There is no event in {source_parts[0].path}; no line of it could be read."
        )
    payload_decoders.build_decoders(
        options.decoders, options.find_decoder
    )  # else it would be refused in the middle
    Redaction(options.redacted_paths, b"")  # as above
    mapping = detect_mapping(records, options.field_columns, log_name)
    unmapped = [name for name in options.decoders if not mapping.has_field(name)]
    if unmapped:
        # Opaque text is no data to whoever looks for JSON; here a person says that it is.
        missing = [name for name in unmapped if not any(name in record for record in records)]
        if missing:
            raise SourceError(
                f"There is no column {missing[0]} to decode; say which it is with --map {missing[0]}=COLUMN."
            )
        mapping = detect_mapping(
            records, {**options.field_columns, **{name: name for name in unmapped}}, log_name
        )
    return replace(mapping, decoders=options.decoders, redacted=options.redacted_paths)


def _format_name(source_parts: Sequence[SourcePart], mapping: FieldMapping) -> str:
    """Transport and envelope, as `jsonl+debezium`."""
    names = (piece.format.name for piece in source_parts)
    return "+".join(dict.fromkeys((*names, *mapping.envelope_names)))
