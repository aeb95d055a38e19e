"""Load plans: the files or remainders of files to read, the target and the mapping.

A plan is made before anything is written. Planning refuses a source that doesn't belong to the
workspace.
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
from storage.workspace import metadata, validation_cache
from storage.workspace.atomic_file import place_new, place_over_unlocked, replace_atomically
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class LoadOptions:
    """The options of a load, as given on the command line."""

    format: str | None = None
    field_columns: Mapping[str, str] = field(default_factory=dict)
    """Column by event field, as given with --map."""
    decoders: Mapping[str, str] = field(default_factory=dict)
    """Decoding steps by event field, as given with --decode."""
    redacted_paths: tuple[str, ...] = ()
    """Paths to redact, as given with --redact."""
    order_by: str | None = None
    is_strict: bool = False
    replace: bool = False
    wait_seconds: float = 30.0
    find_decoder: payload_decoders.DecoderFinder | None = None
    """Finds the user's decoding functions. None if the user named none: then no user code runs."""


@dataclass(frozen=True)
class PlannedPart:
    """A part of the source to read, from its beginning or from where the last load ended."""

    source_number: int
    source_part: SourcePart
    read_pass: ReadPass
    is_continued: bool


@dataclass
class LoadPlan:
    """A planned load: the parts to read, the mapping, and how to open the target."""

    parts: list[PlannedPart]
    mapping: FieldMapping
    format_name: str
    open_connection: Callable[[], Any]
    first_offset: int = 0
    is_new_workspace: bool = True
    known_origins: Sequence[Origin] = ()
    """The workspace's sources when the load was planned."""


def plan_new_workspace(target: Path, paths: Sequence[str], options: LoadOptions) -> LoadPlan:
    """Plan the load of all paths into a new workspace at `target`; raises `SourceError`."""
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


def plan_append(target: Workspace, paths: Sequence[str], options: LoadOptions) -> LoadPlan:
    """Plan to append what is new in the paths to an existing workspace.

    Raises `SourceError` if the paths hold another log, were rewritten, or are given with another
    mapping than the workspace has.
    """
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
            " give another file with -o, or load this log instead with --replace."
        )
    given = {f: PathValue(parse_path(c, mapping.columns)) for f, c in options.field_columns.items()}
    has_other_mapping = any(mapping.expression_for(f) != e for f, e in given.items())
    if (
        has_other_mapping
        or any(mapping.decoders.get(f) != how for f, how in options.decoders.items())
        or (set(options.redacted_paths) - set(mapping.redacted))
    ):
        raise SourceError(
            f"{target.path} was loaded with another mapping; load it again with --replace to use"
            " this one."
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
        # Standard input is copied to a new temporary file at each load, so its path changes.
        change = fingerprints.detect_change(replace(before.fingerprint, path=path), reads_file=True)
        if change is SourceChange.REWRITTEN or (
            change is SourceChange.GROWN and _has_torn_row_grown(before, path)
        ):
            raise SourceError(
                f"{path} no longer begins with the events that were loaded from it;"
                " load it again with --replace."
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
        return FieldMapping.from_json(metadata.read_metadata(connection, "mapping"))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise WorkspaceError(
            f"{path} has no valid mapping of its source's fields; load it again with --replace."
        ) from error


def _refuse_unnamed_files(path: Path, mapping: FieldMapping, options: LoadOptions) -> None:
    """Raise `SourceError` if a workspace that the user doesn't own names a schema file to read."""
    for name, how in mapping.decoders.items():
        files_of = payload_decoders.files_in(how)
        if files_of and options.decoders.get(name) != how and not validation_cache.is_own(path):
            raise SourceError(
                f"{path} came from elsewhere and decodes {name} with the file {files_of[0]};"
                f" give --decode {name}={how}, or agree with `refold trust {path}`."
            )


def _has_torn_row_grown(origin: Origin, path: str) -> bool:
    """Return whether the last row had no line break when it was loaded and is longer now."""
    if not origin.ends_without_line_break or origin.format == "jsonl":
        return False
    stream, _ = byte_streams.open_bytes(path, origin.fingerprint.consumed)
    with stream:
        return stream.read(1) not in (b"\n", b"\r")


@contextmanager
def spool_standard_input(paths: Sequence[str]) -> Iterator[list[str]]:
    """Yield the paths with each stream replaced by a temporary copy.

    A stream can be read only once, but a load reads a sample before the whole. Streams are
    standard input and pipes, such as <(…), /dev/stdin and named pipes. Errors name the stream.
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
                stream_name = "standard input" if path == sources.STDIN else path
                message = message.replace(file, stream_name)
            raise SourceError(message) from error


def _detect_mapping(
    source_parts: Sequence[SourcePart], options: LoadOptions, log_name: str
) -> FieldMapping:
    try:
        records = [record for piece in source_parts[:5] for record in piece.read_sample()]
    except duckdb.ConversionException as error:
        raise SourceError(
            f"{source_parts[0].path} holds a value that a workspace can't store"
            f" ({summarize_error(error)}). Correct the value in the source."
        ) from error
    if not records:
        raise SourceError(
            f"No event found in {source_parts[0].path}: none of its lines could be read. Name the"
            " format with --format."
        )
    # Check decoders and paths now, because an error during the load would come late.
    payload_decoders.build_decoders(options.decoders, options.find_decoder)
    Redaction(options.redacted_paths, b"")
    mapping = detect_mapping(records, options.field_columns, log_name)
    unmapped = [name for name in options.decoders if not mapping.has_field(name)]
    if unmapped:
        # Detection takes only JSON for a payload. The user says that this opaque text is one.
        missing = [name for name in unmapped if not any(name in record for record in records)]
        if missing:
            raise SourceError(
                f"There is no column {missing[0]} to decode; name the column with"
                f" --map {missing[0]}=COLUMN."
            )
        mapping = detect_mapping(
            records, {**options.field_columns, **{name: name for name in unmapped}}, log_name
        )
    return replace(mapping, decoders=options.decoders, redacted=options.redacted_paths)


def _format_name(source_parts: Sequence[SourcePart], mapping: FieldMapping) -> str:
    """Return the names of formats and envelopes, such as `jsonl+debezium`."""
    names = (piece.format.name for piece in source_parts)
    return "+".join(dict.fromkeys((*names, *mapping.envelope_names)))
