"""Loading: a source into a workspace, whole or not at all.

A new workspace is written under another name and takes its place at the end; an existing one is
extended inside one transaction. Killed at any point, what was there before is still there.
Offsets follow the order of the files and of the lines in them.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from storage import config_dir
from storage.errors import SourceError, StaleError, one_line
from storage.ingest import ordering, payload_decoders, provenance, reject_repair, sources
from storage.ingest.formats import LINE, Reject
from storage.ingest.io import object_store, raw_json, timestamps
from storage.ingest.io.prefetch import ahead
from storage.ingest.load_plan import Part, Plan, Wish, append, fresh, readable
from storage.ingest.mapping import FIELDS, PAYLOADS, FieldMapping
from storage.ingest.redaction import Redaction
from storage.ingest.sources import uris
from storage.log import irregularities, statistics
from storage.plural import counted
from storage.quoting import own, quoted
from storage.workspace import workspace
from storage.workspace.atomic_file import refuse_to_replace

_POSITION, _GOOD, _MOMENT = own("position"), own("good"), own("moment")

__all__ = ["Loaded", "Progress", "Wish", "default_target", "load"]


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
    """What a load did."""

    workspace: Path
    appended: int
    events: int
    """How many the workspace holds now."""
    format: str
    mapping: FieldMapping
    seconds: float
    undecoded: int = 0
    """Payloads that stayed as they were stored, though they should have been decoded."""

    @cached_property
    def log(self) -> "statistics.LogStatistics":
        """What can be said of the whole log; scans it, for whoever asks."""
        existing = workspace.Workspace(self.workspace)
        try:
            with existing.reading() as connection:
                return statistics.of_log(connection)
        finally:
            existing.close()


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
    with readable(sources.expand(names)) as paths:
        if wish.replace:
            refuse_to_replace(target)
        while True:
            if target.exists() and not wish.replace:
                existing = workspace.Workspace(target, wait=wish.wait, on_wait=on_wait)
                plan = append(existing, paths, wish)
                existing.release()
            else:
                plan = fresh(target, paths, wish)
            if on_mapping is not None and plan.parts:
                on_mapping(plan.mapping, plan.format)
            run = _Run(plan, wish, on_progress)
            if not plan.parts:  # nothing is new, so nobody has to wait
                break
            with suppress(StaleError), plan.connection() as connection:
                run.into(connection)
                break
    took = time.monotonic() - started
    told = plan.first_offset + run.events, plan.format, plan.mapping, took, run.undecoded
    return Loaded(target, run.events, *told)


def default_target(name: str) -> Path:
    """The workspace that belongs to a source: beside it, or in the cache where that can't be written."""
    if name == sources.STDIN or (sources.is_stream(name) and name.startswith(("/dev/", "/proc/"))):
        return Path("stdin.refold")
    if uris.is_link(name) or object_store.is_object(name):
        stem = re.sub(r"[^\w.-]+", "-", sources.log_name(name))
        return Path(f"{stem}.refold")
    path = Path(name)
    folder = path.parent
    if not os.access(folder, os.W_OK):
        folder = config_dir.cache() / re.sub(r"\W+", "-", str(folder.resolve())).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[*?\[\]]+", "", sources.log_name(name)) or "log"
    return folder / f"{stem}.refold"


class _Run:
    """One pass: batches of text out of the files, events into the workspace."""

    def __init__(self, plan: Plan, wish: Wish, on_progress: OnProgress | None) -> None:
        self._plan = plan
        self._wish = wish
        self._on_progress = on_progress
        self._events = 0
        self._counts: dict[int, int] = {}
        self._done = 0
        self._total = sum(part.piece.size for part in plan.parts)
        self._failure: BaseException | None = None
        self._decoders = payload_decoders.read(plan.mapping.decoders, wish.unpackers)
        self._redaction = Redaction(plan.mapping.redacted)

    @property
    def events(self) -> int:
        """How many were written."""
        return self._events

    @property
    def undecoded(self) -> int:
        """Payloads that no decoder could read."""
        packed = sum(decoder.failed for decoder in self._decoders.values())
        return packed + sum(part.reading.undecoded for part in self._plan.parts)

    def into(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write events, rejects and fingerprints."""
        if not self._plan.fresh and provenance.known(connection) != self._plan.based_on:
            raise StaleError(
                "Another process loaded into the workspace after this load was planned."
            )
        with self._functions(connection):
            self._all(connection)

    @contextmanager
    def _functions(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """What decodes and redacts as functions of SQL, for as long as it is loaded."""
        functions: dict[str, Callable[[pa.ChunkedArray], pa.Array]] = {
            f"decoded_{name}": decoder.batch for name, decoder in self._decoders.items()
        }
        for name in self._redaction.fields:
            functions[f"redacted_{name}"] = partial(self._redaction.column, name)
        functions["finite_json"] = raw_json.finite_column
        if self._redaction:
            functions["covered"] = self._redaction.covered
        for name, function in functions.items():
            connection.create_function(
                name,
                partial(self._asked, function),
                ["VARCHAR"],
                "VARCHAR",
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
        try:
            yield
        finally:
            for name in functions:
                with suppress(duckdb.Error):  # a load that failed has closed its transaction
                    connection.remove_function(name)

    def _asked(
        self, function: Callable[[pa.ChunkedArray], pa.Array], texts: pa.ChunkedArray
    ) -> pa.Array:
        """What failed is kept, as DuckDB has only the words of it."""
        try:
            return function(texts)
        except BaseException as error:
            self._failure = error
            raise

    def _all(self, connection: duckdb.DuckDBPyConnection) -> None:
        for part in self._plan.parts:
            if part.continues:
                # A torn last line is read again, now that it may be whole.
                connection.execute(
                    "DELETE FROM rejects WHERE source = ? AND line > ?",
                    [part.index, part.reading.start_line],
                )
            before = self._events
            self._insert(connection, part)
            self._counts[part.index] = self._events - before
            self._done += part.piece.size
        self._refuse_rejects()
        first, mapping = self._plan.first_offset, self._plan.mapping
        order_by = self._wish.order_by or ("offset" if mapping.newest_first else None)
        if order_by is not None:
            ordering.sort(connection, order_by, mapping, first)
        if not mapping.has("revision"):
            ordering.number_streams(connection, first)
        self._remember(connection)
        if self._events:
            irregularities.note(connection, first)

    def _insert(self, connection: duckdb.DuckDBPyConnection, part: Part) -> None:
        before = self._events
        batches = ahead(self._positioned(part), 2)
        try:
            for schema, alike in groupby(self._watched(batches), lambda batch: batch.schema):
                reader = pa.RecordBatchReader.from_batches(schema, alike)
                connection.register("incoming", reader)
                connection.execute(self._insertion(part, schema))
                connection.unregister("incoming")
        except duckdb.ConversionException as error:
            raise self._failure or SourceError(
                f"{part.piece.path} holds a value that no workspace can hold ({one_line(error)})."
            ) from error
        except duckdb.Error as error:
            raise self._failure or error from error
        finally:
            batches.close()
        if self._events == before:
            return
        if self._plan.fresh:
            # Nobody sees the new file yet. Changing rows within the transaction that inserts them
            # would write all of them a second time.
            connection.execute("COMMIT")
            connection.execute("BEGIN")
        form, mapping = part.piece.format, self._plan.mapping
        self._events -= reject_repair.at_leftovers(
            connection,
            form,
            mapping,
            part.reading,
            first_offset=self._plan.first_offset + before,
            decoders=self._decoders,
            redaction=self._redaction,
        )

    def _positioned(self, part: Part) -> Iterator[pa.RecordBatch]:
        """The file's batches with offsets."""
        for batch in part.piece.batches(part.reading, self._plan.mapping):
            first = self._plan.first_offset + self._events
            self._events += batch.num_rows
            offsets = pa.array(np.arange(first, first + batch.num_rows))
            with_offset = batch.schema.insert(0, pa.field(_POSITION, pa.int64()))
            yield pa.RecordBatch.from_arrays([offsets, *batch.columns], schema=with_offset)
            if self._on_progress is not None:
                done = min(part.reading.done, part.piece.size)
                self._on_progress(Progress(self._events, self._done + done, self._total))

    def _watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """What is raised on the way, also Ctrl+C, is kept: DuckDB passes it on as text only."""
        try:
            yield from batches
        except BaseException as error:
            self._failure = error
            raise

    def _insertion(self, part: Part, schema: pa.Schema) -> str:
        """One statement from the row of such a batch to the row of an event.

        A row that isn't good is kept with the negative of its line, and its text as `data`.
        """
        mapping = self._plan.mapping
        fields = part.piece.format.fields(mapping, schema)
        text = {name: fields.text.get(name, "CAST(NULL AS VARCHAR)") for name in FIELDS}
        if not mapping.has("stream"):
            text["stream"] = quoted(mapping.whole_log)
        rows = "incoming"
        for stage in fields.stages:
            rows = f"(SELECT *, {stage} FROM {rows})"
        for name in self._decoders:
            text[name] = f"CASE WHEN {_GOOD} THEN decoded_{name}({text[name]}) END"
        for name in self._redaction.fields:
            text[name] = f"CASE WHEN {_GOOD} THEN redacted_{name}({text[name]}) END"
        raw = f"covered({fields.raw})" if self._redaction else fields.raw
        if part.piece.format.name != "jsonl":  # whose lines were checked
            for name in PAYLOADS:
                bare = f"regexp_matches({text[name]}, {quoted(raw_json.NOT_FINITE)})"
                text[name] = (
                    f"CASE WHEN {bare} THEN finite_json({text[name]}) ELSE {text[name]} END"
                )
        moment = timestamps.within_range(
            fields.moment or timestamps.read_as_utc(text["time"], mapping.time_notation)
        )
        meta = timestamps.meta_with_unreadable(text["meta"], text["time"], _MOMENT)
        return (
            f"INSERT INTO events SELECT {_POSITION}, {_MOMENT},"
            f" {text['stream']}, try_cast({text['revision']} AS BIGINT), {text['type']},"
            f" {text['version']}, {text['id']}, {text['correlation_id']},"
            f" {text['causation_id']}, CASE WHEN {_GOOD} THEN {text['data']} ELSE {raw} END,"
            f" CASE WHEN {_GOOD} THEN {meta} END, {part.index}, CASE WHEN {_GOOD} THEN {LINE} ELSE -{LINE} END,"
            f" {text['offset']} FROM (SELECT *, {fields.good} AS {_GOOD}, {moment} AS {_MOMENT} FROM {rows})"
        )

    def _refuse_rejects(self) -> None:
        if not self._wish.strict:
            return
        rejects = [(p.piece.path, r) for p in self._plan.parts for r in _in_order(p)]
        if rejects:
            path, first = rejects[0]
            raise SourceError(
                f"{path}, line {first.line}: {first.reason}; --strict loads nothing"
                f" ({counted(len(rejects), 'line')} can't be read)."
            )

    def _said(self, reject: Reject) -> tuple[str, str]:
        """What is kept of a reject; where something is redacted, nothing that it says itself."""
        if self._redaction:
            return "it can't be read, and --redact keeps nothing of it", ""
        return reject.reason, reject.text

    def _remember(self, connection: duckdb.DuckDBPyConnection) -> None:
        offset = self._plan.first_offset
        for part in self._plan.parts:
            reading = part.reading
            rejects = [(part.index, r.line, *self._said(r)) for r in reading.rejects]
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
            known = part.piece.taken(reading)
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
                    [part.index, known.path, part.piece.format.name, known.taken, known.size]
                    + [known.modified_ns, known.head, known.tail, reading.lines, offset, count]
                    + [reading.partial],
                )
            offset += count
        if self._plan.fresh:
            workspace.write_fact(connection, "mapping", self._plan.mapping.to_json())


def _in_order(part: Part) -> list[Reject]:
    return sorted(part.reading.rejects, key=lambda reject: reject.line)
