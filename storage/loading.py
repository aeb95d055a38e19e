"""Loading: a source into a workspace, whole or not at all.

A new workspace is written under another name and takes its place at the end; an existing one is
extended inside one transaction. Killed at any point, what was there before is still there.
Offsets follow the order of the files and of the lines in them.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from storage import (
    bytestreams,
    fingerprints,
    origins,
    schema,
    second_look,
    sources,
    statistics,
    times,
    workspace,
)
from storage.errors import SourceError, WorkspaceError
from storage.fingerprints import Change
from storage.formats import Reading
from storage.mapping import FIELDS, FieldMapping, detect
from storage.origins import Origin
from storage.prefetch import ahead


@dataclass(frozen=True)
class Wish:
    """What a person asked for beside the source itself."""

    format: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """Event field to column, as given with --map."""
    order_by: str | None = None
    strict: bool = False
    replace: bool = False
    wait: float = 30.0


@dataclass(frozen=True)
class Progress:
    """How far a load has come."""

    events: int
    done: int
    """Bytes read."""
    total: int
    """Bytes there are; 0 where that isn't known."""


@dataclass(frozen=True)
class Loaded:
    """What a load did, and what the workspace holds now."""

    workspace: Path
    appended: int
    format: str
    mapping: FieldMapping
    log: "statistics.LogStatistics"
    seconds: float


_SPOOL = "refold-stdin-"
"""How the folder's name begins into which standard input is written."""

OnProgress = Callable[[Progress], None]
OnMapping = Callable[[FieldMapping, str], None]


def load(
    names: Sequence[str],
    target: Path,
    wish: Wish | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_mapping: OnMapping | None = None,
    on_wait: workspace.Waiting | None = None,
) -> Loaded:
    """Load a source into the workspace at `target`, or append what is new in it.

    Raises `SourceError` where the source can't be read, or another one than before was given, and
    `WorkspaceError` where the workspace can't be written.
    """
    wish = wish or Wish()
    started = time.monotonic()
    with _readable(sources.expand(names)) as paths:
        if wish.replace:
            _refuse_to_replace(target)
        while True:
            if target.exists() and not wish.replace:
                existing = workspace.Workspace(target, wait=wish.wait, on_wait=on_wait)
                job = _append(existing, paths, wish)
                existing.release()
            else:
                job = _fresh(target, paths, wish)
            if on_mapping is not None and job.files:
                on_mapping(job.mapping, job.format)
            run = _Run(job, wish, on_progress)
            with suppress(_OvertakenError), job.connection() as connection:
                appended = run.into(connection)
                log = statistics.of_log(connection)
                break
    return Loaded(target, appended, job.format, job.mapping, log, time.monotonic() - started)


def _refuse_to_replace(target: Path) -> None:
    """What isn't a workspace is never written over: it may be the source itself."""
    if not target.exists():
        return
    if not target.is_file():
        raise WorkspaceError(f"{target} is no file; name another place with -o.")
    with target.open("rb") as stream:
        head = stream.read(12)
    if head and head[8:12] != b"DUCK":
        raise WorkspaceError(
            f"{target} is not a workspace and is not replaced; name another place with -o."
        )


def default_target(name: str) -> Path:
    """The workspace that belongs to a source: beside it, or in the cache where that can't be written."""
    if name == sources.STDIN:
        return Path("stdin.refold")
    path = Path(name)
    folder = path.parent
    if not os.access(folder, os.W_OK):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "refold" / re.sub(r"\W+", "-", str(folder.resolve())).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[*?\[\]]+", "", sources.log_name(name)) or "log"
    return folder / f"{stem}.refold"


@dataclass(frozen=True)
class _Part:
    """A file, or the rest of one, that is to be read."""

    index: int
    file: sources.File
    reading: Reading
    continues: bool


@dataclass
class _Job:
    """A load that has been decided on: which bytes, into what, by which mapping."""

    files: list[_Part]
    mapping: FieldMapping
    format: str
    connection: Callable[[], Any]
    first_offset: int = 0
    fresh: bool = True
    based_on: Sequence[Origin] = ()
    """What the workspace held when it was decided."""


class _OvertakenError(Exception):
    """Another process loaded into the workspace after this load was decided on."""


def _fresh(target: Path, paths: Sequence[str], wish: Wish) -> _Job:
    looked = [sources.look(path, wish.format) for path in paths]
    named = sources.log_name(target.stem if _is_stdin(paths[0]) else paths[0])
    mapping = _detected(looked, wish, named)
    parts = [_Part(i, file, Reading(file.path), False) for i, file in enumerate(looked)]
    return _Job(parts, mapping, _format_name(looked), lambda: _new_file(target))


def _append(existing: workspace.Workspace, paths: Sequence[str], wish: Wish) -> _Job:
    with existing.reading() as connection:
        known = {k.print.path: k for k in origins.known(connection)}
        mapping = _known_mapping(connection, existing.path)
        row = connection.execute('SELECT coalesce(max("offset") + 1, 0) FROM events').fetchone()
    first = row[0] if row else 0
    resolved = {_resolved(path): path for path in paths}
    if not set(known) & set(resolved):
        raise SourceError(
            f"{existing.path} holds another log ({next(iter(known), 'from elsewhere')});"
            " give another file with -o, or --replace to load this one instead."
        )
    if {f: c for f, c in wish.fields.items() if mapping.column(f) != c}:
        raise SourceError(
            f"{existing.path} was loaded with another mapping; --replace loads it anew with this one."
        )
    parts: list[_Part] = []
    formats = [k.format for k in known.values()]
    unused = count(max((k.index for k in known.values()), default=-1) + 1)
    for full, path in resolved.items():
        before = known.get(full)
        if before is None:
            file = sources.look(path, wish.format)
            formats.append(file.format.name)
            parts.append(_Part(next(unused), file, Reading(path), False))
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
            parts.append(_Part(before.index, sources.look(path, before.format), reading, True))
    return _Job(
        parts,
        mapping,
        "+".join(dict.fromkeys(formats)),
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


def _was_torn(before: Origin, path: str) -> bool:
    """The last row had no line break when it was taken, and has become longer since."""
    if not before.partial or before.format == "jsonl":
        return False
    stream, _ = bytestreams.open_bytes(path, before.print.taken)
    with stream:
        return stream.read(1) not in (b"\n", b"\r")


class _Run:
    """One pass: batches of text out of the files, events into the workspace."""

    def __init__(self, job: _Job, wish: Wish, on_progress: OnProgress | None) -> None:
        self._job = job
        self._wish = wish
        self._on_progress = on_progress
        self._events = 0
        self._counts: dict[int, int] = {}
        self._done = 0
        self._total = sum(part.file.size for part in job.files)
        self._failure: SourceError | None = None

    def into(self, connection: duckdb.DuckDBPyConnection) -> int:
        """Write events, rejects and fingerprints; the number of events written."""
        if not self._job.fresh and origins.known(connection) != self._job.based_on:
            raise _OvertakenError
        for part in self._job.files:
            if part.continues:
                # A torn last line is read again, now that it may be whole.
                connection.execute(
                    "DELETE FROM rejects WHERE source = ? AND line > ?",
                    [part.index, part.reading.start_line],
                )
            before = self._events
            self._insert(connection, part)
            self._counts[part.index] = self._events - before
            self._done += part.file.size
        self._refuse_rejects()
        if self._job.files:
            first = self._job.first_offset
            if self._wish.order_by is not None:
                _sort(connection, self._wish.order_by, self._job.mapping, first)
            if self._job.mapping.column("revision") is None:
                _number_streams(connection, first)
        self._remember(connection)
        return self._events

    def _insert(self, connection: duckdb.DuckDBPyConnection, part: _Part) -> None:
        first_offset = self._job.first_offset + self._events
        batches = ahead(self._positioned(part), 2)
        first = next(batches, None)
        if first is None:
            return
        reader = pa.RecordBatchReader.from_batches(first.schema, chain([first], batches))
        connection.register("incoming", reader)
        try:
            connection.execute(self._insertion(part))
        except duckdb.Error as error:
            raise self._failure or error from error
        finally:
            batches.close()
        connection.unregister("incoming")
        form, mapping = part.file.format, self._job.mapping
        self._events -= second_look.at_leftovers(
            connection, form, mapping, part.reading, first_offset=first_offset
        )

    def _positioned(self, part: _Part) -> Iterator[pa.RecordBatch]:
        """The file's batches with offsets. An error is kept: DuckDB passes it on as text only."""
        try:
            for batch in part.file.format.batches(part.reading, self._job.mapping):
                first = self._job.first_offset + self._events
                self._events += batch.num_rows
                offsets = pa.array(np.arange(first, first + batch.num_rows))
                with_offset = batch.schema.insert(0, pa.field("position", pa.int64()))
                yield pa.RecordBatch.from_arrays([offsets, *batch.columns], schema=with_offset)
                if self._on_progress is not None:
                    done = min(part.reading.done, part.file.size)
                    self._on_progress(Progress(self._events, self._done + done, self._total))
        except SourceError as error:
            self._failure = error
            raise

    def _insertion(self, part: _Part) -> str:
        """One statement from a batch's row to the row of an event.

        A row that isn't good is kept with the negative of its line, and its text as `data`.
        """
        mapping = self._job.mapping
        fields = part.file.format.fields(mapping)
        text = {name: fields.text.get(name, "CAST(NULL AS VARCHAR)") for name in FIELDS}
        if mapping.column("stream") is None:
            text["stream"] = "'" + mapping.whole_log.replace("'", "''") + "'"
        moment = times.read_as_utc(text["time"], mapping.time_notation)
        return (
            f'INSERT INTO events SELECT "position", CAST({moment} AS TIMESTAMPTZ),'
            f" {text['stream']}, try_cast({text['revision']} AS BIGINT), {text['type']},"
            f" {text['version']}, {text['id']}, {text['correlation_id']},"
            f" {text['causation_id']}, CASE WHEN good THEN {text['data']} ELSE {fields.raw} END,"
            f" {text['meta']}, {part.index}, CASE WHEN good THEN line ELSE -line END,"
            f" {text['offset']} FROM (SELECT *, {fields.good} AS good FROM"
            f" (SELECT *, {fields.parsed} FROM incoming))"
        )

    def _refuse_rejects(self) -> None:
        rejects = [(p.file.path, r) for p in self._job.files for r in p.reading.rejects]
        if self._wish.strict and rejects:
            path, first = rejects[0]
            raise SourceError(
                f"{path}, line {first.line}: {first.reason}; --strict loads nothing"
                f" ({len(rejects):,} such {'line' if len(rejects) == 1 else 'lines'})."
            )

    def _remember(self, connection: duckdb.DuckDBPyConnection) -> None:
        offset = self._job.first_offset
        for part in self._job.files:
            reading, path = part.reading, part.file.path
            rejects = [(part.index, r.line, r.reason, r.text) for r in reading.rejects]
            if rejects:
                table = pa.table(
                    dict(
                        zip(
                            ("source", "line", "reason", "text"),
                            zip(*rejects, strict=True),
                            strict=True,
                        )
                    )
                )
                connection.register("refused", table)
                connection.execute("INSERT INTO rejects SELECT * FROM refused ORDER BY line")
                connection.unregister("refused")
            file = part.file
            known = fingerprints.take(
                path, reading.taken, file.size, file.modified_ns, whole=file.format.whole
            )
            count = self._counts.get(part.index, 0)
            if part.continues:
                connection.execute(
                    "UPDATE sources SET taken = ?, size = ?, modified_ns = ?, head = ?, tail = ?,"
                    " lines = ?, events = events + ?, partial = ? WHERE source = ?",
                    [known.taken, known.size, known.modified_ns, known.head, known.tail]
                    + [reading.lines, count, reading.partial, part.index],
                )
            else:
                connection.execute(
                    f"INSERT INTO sources VALUES ({', '.join('?' * 12)})",
                    [part.index, _resolved(path), part.file.format.name, known.taken, known.size]
                    + [known.modified_ns, known.head, known.tail, reading.lines, offset, count]
                    + [reading.partial],
                )
            offset += count
        if self._job.fresh:
            workspace.write_fact(connection, "mapping", self._job.mapping.to_json())


@contextmanager
def _new_file(target: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a workspace that takes the target's place if all goes well, else vanishes."""
    _sweep(target)
    unfinished = target.with_name(f"{target.name}.loading-{os.getpid()}")
    if not os.access(target.parent, os.W_OK):
        raise WorkspaceError(f"{target.parent} can't be written; name another place with -o.")
    try:
        connection = workspace.create(unfinished)
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
            # Closing would do it too, but silently leave it undone where there is no room.
            connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise workspace.trouble(error, target) from error
        finally:
            try:
                connection.close()
            except duckdb.Error as error:
                raise workspace.trouble(error, target) from error
        Path(f"{target}.wal").unlink(missing_ok=True)
        unfinished.replace(target)
    finally:
        _remove(unfinished)


def _sweep(target: Path) -> None:
    """Remove what a load that was killed left beside the target."""
    for left in target.parent.glob(f"{target.name}.loading-*"):
        pid = left.name.rsplit("-", 1)[1].split(".", 1)[0]
        if pid.isdigit() and int(pid) != os.getpid() and not Path(f"/proc/{pid}").exists():
            _remove(left)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    Path(f"{path}.wal").unlink(missing_ok=True)
    shutil.rmtree(f"{path}.tmp", ignore_errors=True)


@contextmanager
def _readable(paths: Sequence[str]) -> Iterator[list[str]]:
    """The same paths, with standard input written into a file, as a sample is read from it first."""
    if sources.STDIN not in paths:
        yield list(paths)
        return
    with tempfile.TemporaryDirectory(prefix=_SPOOL) as folder:
        spooled = Path(folder) / sources.STDIN
        bytestreams.spool_stdin(spooled)
        yield [str(spooled) if path == sources.STDIN else path for path in paths]


def _detected(looked: Sequence[sources.File], wish: Wish, named: str) -> FieldMapping:
    records = [r for file in looked[:5] for r in file.format.sample(file.path, file.head)]
    if not records:
        raise SourceError(f"There is no event in {looked[0].path}; no line of it could be read.")
    return detect(records, wish.fields, named)


def _format_name(looked: Sequence[sources.File]) -> str:
    return "+".join(dict.fromkeys(file.format.name for file in looked))


def _resolved(path: str) -> str:
    return sources.STDIN if _is_stdin(path) else str(Path(path).resolve())


def _is_stdin(path: str) -> bool:
    return Path(path).name == sources.STDIN and Path(path).parent.name.startswith(_SPOOL)


def _sort(
    connection: duckdb.DuckDBPyConnection, field_name: str, mapping: FieldMapping, first: int
) -> None:
    """Give the loaded events the order of a field; equal ones keep the order of their lines."""
    if field_name not in FIELDS or mapping.column(field_name) is None:
        raise SourceError(
            f"The log can't be ordered by {field_name}: no column is mapped to it;"
            f" there are {', '.join(f for f in FIELDS if mapping.column(f))}."
        )
    column = "source_position" if field_name == "offset" else f'"{field_name}"'
    key = column if field_name == "time" else f"try_cast({column} AS DECIMAL(38, 9)), {column}"
    columns = ", ".join(f'"{name}"' for name, _ in schema.EVENTS.columns[1:])
    connection.execute(
        f'CREATE TEMP TABLE ordered AS SELECT row_number() OVER (ORDER BY {key}, "offset")'
        f' - 1 + {first}, {columns} FROM events WHERE "offset" >= {first} ORDER BY {key}, "offset"'
    )
    connection.execute('DELETE FROM events WHERE "offset" >= ?', [first])
    connection.execute("INSERT INTO events SELECT * FROM ordered")
    connection.execute("DROP TABLE ordered")


def _number_streams(connection: duckdb.DuckDBPyConnection, first_offset: int) -> None:
    """Revisions for a log without any: an event's place in its stream, from 0."""
    connection.execute(
        'UPDATE events SET revision = numbered.place FROM (SELECT "offset" AS at,'
        ' row_number() OVER (PARTITION BY stream ORDER BY "offset") - 1 AS place FROM events)'
        ' AS numbered WHERE events."offset" = numbered.at AND events."offset" >= ?',
        [first_offset],
    )
