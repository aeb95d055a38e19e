"""Load a source into a workspace, completely or not at all.

A new workspace is written to a temporary file, which replaces the target at the end; an existing
workspace is extended inside one transaction. A load that is killed leaves the target unchanged.
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
from storage.errors import SourceError, StaleError, summarize_error
from storage.ingest import ordering, payload_decoders, provenance, reject_repair, sources
from storage.ingest.formats import LINE_COLUMN, Reject
from storage.ingest.io import object_store, raw_json, timestamps
from storage.ingest.io.prefetch import prefetch_items
from storage.ingest.load_plan import (
    LoadOptions,
    LoadPlan,
    PlannedPart,
    plan_append,
    plan_new_workspace,
    spool_standard_input,
)
from storage.ingest.mapping import FIELDS, PAYLOAD_FIELDS, FieldMapping
from storage.ingest.redaction import Redaction
from storage.ingest.sources import uris
from storage.log import irregularities, statistics
from storage.plural import format_count
from storage.quoting import quote_literal, unique_column_name
from storage.workspace.atomic_file import check_is_replaceable
from storage.workspace.file_opening import OnWait
from storage.workspace.metadata import write_metadata
from storage.workspace.workspace_file import WorkspaceFile

_OFFSET_COLUMN, _IS_GOOD_COLUMN, _MOMENT = (
    unique_column_name("position"),
    unique_column_name("good"),
    unique_column_name("moment"),
)

__all__ = ["LoadOptions", "LoadProgress", "LoadResult", "choose_default_target", "load_source"]


@dataclass(frozen=True)
class LoadProgress:
    """The progress of a running load."""

    events: int
    read_bytes: int
    """Bytes read until now."""
    total_bytes: int
    """Bytes of all sources; 0 if their size is unknown."""


@dataclass(frozen=True)
class LoadResult:
    """The result of a load."""

    workspace: Path
    appended: int
    events: int
    """Number of events in the workspace after the load."""
    format: str
    mapping: FieldMapping
    seconds: float
    undecoded_count: int = 0
    """Number of payloads that couldn't be decoded and were kept in their stored form."""

    @cached_property
    def log(self) -> "statistics.LogStatistics":
        """Statistics of the whole log; the first access scans the log."""
        existing = WorkspaceFile(self.workspace)
        try:
            with existing.reading() as connection:
                return statistics.read_statistics(connection)
        finally:
            existing.close()


OnProgress = Callable[[LoadProgress], None]
OnMapping = Callable[[FieldMapping, str], None]


def load_source(
    source_names: Sequence[str],
    target: Path,
    options: LoadOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_mapping: OnMapping | None = None,
    on_wait: OnWait | None = None,
) -> LoadResult:
    """Load a source into the workspace at `target`, or append the source's new events.

    Raises `SourceError` if the source can't be read or isn't the source of the workspace, and
    `WorkspaceError` if the workspace can't be written.
    """
    options = options or LoadOptions()
    started = time.monotonic()
    with spool_standard_input(sources.expand_names(source_names)) as paths:
        if options.replace:
            check_is_replaceable(target)
        while True:
            if target.exists() and not options.replace:
                existing = WorkspaceFile(target, wait_seconds=options.wait_seconds, on_wait=on_wait)
                plan = plan_append(existing, paths, options)
                existing.release()
            else:
                plan = plan_new_workspace(target, paths, options)
            if on_mapping is not None and plan.parts:
                on_mapping(plan.mapping, plan.format_name)
            run = _LoadRun(plan, options, on_progress)
            if not plan.parts:  # nothing is new, so the write lock isn't needed
                break
            with suppress(StaleError), plan.open_connection() as connection:
                run.write_into(connection)
                break
    seconds = time.monotonic() - started
    details = (
        plan.first_offset + run.event_count,
        plan.format_name,
        plan.mapping,
        seconds,
        run.undecoded_count,
    )
    return LoadResult(target, run.event_count, *details)


def choose_default_target(source_name: str) -> Path:
    """Return the default workspace of a source.

    It is a file beside the source, or in the cache folder if the source's folder isn't writable.
    The workspace of standard input, a pipe, a URI or an object lies in the working directory.
    """
    if source_name == sources.STDIN or (
        sources.is_stream(source_name) and source_name.startswith(("/dev/", "/proc/"))
    ):
        return Path("stdin.refold")
    if uris.is_uri(source_name) or object_store.is_object(source_name):
        stem = re.sub(r"[^\w.-]+", "-", sources.derive_log_name(source_name))
        return Path(f"{stem}.refold")
    path = Path(source_name)
    folder = path.parent
    if not os.access(folder, os.W_OK):
        folder = config_dir.cache_folder() / re.sub(r"\W+", "-", str(folder.resolve())).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[*?\[\]]+", "", sources.derive_log_name(source_name)) or "log"
    return folder / f"{stem}.refold"


class _LoadRun:
    """One run of a load plan: reads batches from the files and inserts events into the workspace."""

    def __init__(
        self, plan: LoadPlan, options: LoadOptions, on_progress: OnProgress | None
    ) -> None:
        self._plan = plan
        self._options = options
        self._on_progress = on_progress
        self._event_count = 0
        self._count_by_source: dict[int, int] = {}
        self._finished_bytes = 0
        self._total_bytes = sum(part.source_part.size_bytes for part in plan.parts)
        self._failure: BaseException | None = None
        self._decoders = payload_decoders.build_decoders(
            plan.mapping.decoders, options.find_decoder
        )
        self._redaction = Redaction(plan.mapping.redacted)

    @property
    def event_count(self) -> int:
        """Number of events written."""
        return self._event_count

    @property
    def undecoded_count(self) -> int:
        """Number of payloads that no decoder could read."""
        packed = sum(decoder.failure_count for decoder in self._decoders.values())
        return packed + sum(part.read_pass.undecoded_count for part in self._plan.parts)

    def write_into(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write events, rejects and fingerprints.

        Raises `StaleError` if another process changed the workspace's sources after planning.
        """
        if (
            not self._plan.is_new_workspace
            and provenance.read_origins(connection) != self._plan.known_origins
        ):
            raise StaleError(
                "Another process loaded into the workspace after this load was planned."
            )
        with self._registered_functions(connection):
            self._write_all(connection)

    @contextmanager
    def _registered_functions(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Register the decoding and redacting functions in DuckDB while the context is open."""
        functions: dict[str, Callable[[pa.ChunkedArray], pa.Array]] = {
            f"decoded_{name}": decoder.decode_column for name, decoder in self._decoders.items()
        }
        for name in self._redaction.steps_by_field:
            functions[f"redacted_{name}"] = partial(self._redaction.redact_column, name)
        functions["finite_json"] = raw_json.finite_column
        if self._redaction:
            functions["covered"] = self._redaction.encrypt_lines
        for name, function in functions.items():
            connection.create_function(
                name,
                partial(self._call_and_keep_error, function),
                ["VARCHAR"],
                "VARCHAR",
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
        try:
            yield
        finally:
            for name in functions:
                with suppress(duckdb.Error):  # a failed load has already closed its transaction
                    connection.remove_function(name)

    def _call_and_keep_error(
        self, function: Callable[[pa.ChunkedArray], pa.Array], texts: pa.ChunkedArray
    ) -> pa.Array:
        """Call a function and keep its exception, because DuckDB passes on only the message."""
        try:
            return function(texts)
        except BaseException as error:
            self._failure = error
            raise

    def _write_all(self, connection: duckdb.DuckDBPyConnection) -> None:
        for part in self._plan.parts:
            if part.is_continued:
                # Read a torn last line again, because it may be complete now.
                connection.execute(
                    "DELETE FROM rejects WHERE source = ? AND line > ?",
                    [part.source_number, part.read_pass.start_line],
                )
            before = self._event_count
            self._insert_part(connection, part)
            self._count_by_source[part.source_number] = self._event_count - before
            self._finished_bytes += part.source_part.size_bytes
        self._refuse_rejects()
        first, mapping = self._plan.first_offset, self._plan.mapping
        order_by = self._options.order_by or ("offset" if mapping.is_newest_first else None)
        if order_by is not None:
            ordering.sort_events(connection, order_by, mapping, first)
        if not mapping.has_field("revision"):
            ordering.number_revisions(connection, first)
        self._write_sources(connection)
        if self._event_count:
            irregularities.record_irregularities(connection, first)

    def _insert_part(self, connection: duckdb.DuckDBPyConnection, part: PlannedPart) -> None:
        before = self._event_count
        batches = prefetch_items(self._batches_with_offsets(part), 2)
        try:
            for schema, batches_of_schema in groupby(
                self._keep_errors(batches), lambda batch: batch.schema
            ):
                reader = pa.RecordBatchReader.from_batches(schema, batches_of_schema)
                connection.register("incoming", reader)
                connection.execute(self._insert_statement(part, schema))
                connection.unregister("incoming")
        except duckdb.ConversionException as error:
            raise self._failure or SourceError(
                f"{part.source_part.path} holds a value that a workspace can't store"
                f" ({summarize_error(error)}). Correct the value in the source."
            ) from error
        except duckdb.Error as error:
            raise self._failure or error from error
        finally:
            batches.close()
        if self._event_count == before:
            return
        if self._plan.is_new_workspace:
            # No other process sees the new file yet, so it may be committed early. Changing rows in
            # the transaction that inserted them would write all of them a second time.
            connection.execute("COMMIT")
            connection.execute("BEGIN")
        source_format, mapping = part.source_part.format, self._plan.mapping
        self._event_count -= reject_repair.repair_or_reject_rows(
            connection,
            source_format,
            mapping,
            part.read_pass,
            first_offset=self._plan.first_offset + before,
            decoders=self._decoders,
            redaction=self._redaction,
        )

    def _batches_with_offsets(self, part: PlannedPart) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a file with an offset for each row, and report progress."""
        for batch in part.source_part.read_batches(part.read_pass, self._plan.mapping):
            first = self._plan.first_offset + self._event_count
            self._event_count += batch.num_rows
            offsets = pa.array(np.arange(first, first + batch.num_rows))
            with_offset = batch.schema.insert(0, pa.field(_OFFSET_COLUMN, pa.int64()))
            yield pa.RecordBatch.from_arrays([offsets, *batch.columns], schema=with_offset)
            if self._on_progress is not None:
                done = min(part.read_pass.read_bytes, part.source_part.size_bytes)
                self._on_progress(
                    LoadProgress(self._event_count, self._finished_bytes + done, self._total_bytes)
                )

    def _keep_errors(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches and keep what they raise, also Ctrl+C: DuckDB passes on only the text."""
        try:
            yield from batches
        except BaseException as error:
            self._failure = error
            raise

    def _insert_statement(self, part: PlannedPart, schema: pa.Schema) -> str:
        """Return the statement that inserts a batch with this schema as events.

        A row that SQL can't read is inserted with its negative line number and its text as `data`.
        """
        mapping = self._plan.mapping
        fields = part.source_part.format.compile_fields(mapping, schema)
        text = {name: fields.text_by_field.get(name, "CAST(NULL AS VARCHAR)") for name in FIELDS}
        if not mapping.has_field("stream"):
            text["stream"] = quote_literal(mapping.whole_log)
        rows = "incoming"
        for stage in fields.stages:
            rows = f"(SELECT *, {stage} FROM {rows})"
        for name in self._decoders:
            text[name] = f"CASE WHEN {_IS_GOOD_COLUMN} THEN decoded_{name}({text[name]}) END"
        for name in self._redaction.steps_by_field:
            text[name] = f"CASE WHEN {_IS_GOOD_COLUMN} THEN redacted_{name}({text[name]}) END"
        raw = f"covered({fields.raw_sql})" if self._redaction else fields.raw_sql
        if part.source_part.format.name != "jsonl":  # JSON Lines has checked its lines already
            for name in PAYLOAD_FIELDS:
                bare = f"regexp_matches({text[name]}, {quote_literal(raw_json.NOT_FINITE)})"
                text[name] = (
                    f"CASE WHEN {bare} THEN finite_json({text[name]}) ELSE {text[name]} END"
                )
        time_sql = timestamps.within_range(
            fields.time_sql or timestamps.utc_time_sql(text["time"], mapping.time_notation)
        )
        meta = timestamps.meta_with_unreadable(text["meta"], text["time"], _MOMENT)
        return (
            f"INSERT INTO events SELECT {_OFFSET_COLUMN}, {_MOMENT},"
            f" {text['stream']}, try_cast({text['revision']} AS BIGINT), {text['type']},"
            f" {text['version']}, {text['id']}, {text['correlation_id']},"
            f" {text['causation_id']}, CASE WHEN {_IS_GOOD_COLUMN} THEN {text['data']} ELSE {raw} END,"
            f" CASE WHEN {_IS_GOOD_COLUMN} THEN {meta} END, {part.source_number}, CASE WHEN"
            f" {_IS_GOOD_COLUMN} THEN {LINE_COLUMN} ELSE -{LINE_COLUMN} END,"
            f" {text['offset']} FROM (SELECT *, {fields.is_good_sql} AS {_IS_GOOD_COLUMN},"
            f" {time_sql} AS {_MOMENT} FROM {rows})"
        )

    def _refuse_rejects(self) -> None:
        if not self._options.is_strict:
            return
        rejects = [(p.source_part.path, r) for p in self._plan.parts for r in _sorted_rejects(p)]
        if rejects:
            path, first = rejects[0]
            raise SourceError(
                f"{path}, line {first.line}: {first.reason}; --strict loads nothing"
                f" ({format_count(len(rejects), 'line')} can't be read)."
            )

    def _describe_reject(self, reject: Reject) -> tuple[str, str]:
        """Return the reason and text to store; with redaction, neither may quote the line."""
        if self._redaction:
            return "it can't be read, and --redact keeps nothing of it", ""
        return reject.reason, reject.text

    def _write_sources(self, connection: duckdb.DuckDBPyConnection) -> None:
        offset = self._plan.first_offset
        for part in self._plan.parts:
            reading = part.read_pass
            rejects = [
                (part.source_number, r.line, *self._describe_reject(r)) for r in reading.rejects
            ]
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
            fingerprint = part.source_part.take_fingerprint(reading)
            count = self._count_by_source.get(part.source_number, 0)
            if part.is_continued:
                connection.execute(
                    "UPDATE sources SET taken = ?, size = ?, modified_ns = ?, head = ?, tail = ?,"
                    " lines = ?, events = events + ?, partial = ? WHERE source = ?",
                    [
                        fingerprint.consumed,
                        fingerprint.size_bytes,
                        fingerprint.modified_ns,
                        fingerprint.head_hash,
                        fingerprint.tail_hash,
                    ]
                    + [
                        reading.line_count,
                        count,
                        reading.ends_without_line_break,
                        part.source_number,
                    ],
                )
            else:
                connection.execute(
                    f"INSERT INTO sources VALUES ({', '.join('?' * 12)})",
                    [
                        part.source_number,
                        fingerprint.path,
                        part.source_part.format.name,
                        fingerprint.consumed,
                        fingerprint.size_bytes,
                    ]
                    + [
                        fingerprint.modified_ns,
                        fingerprint.head_hash,
                        fingerprint.tail_hash,
                        reading.line_count,
                        offset,
                        count,
                    ]
                    + [reading.ends_without_line_break],
                )
            offset += count
        if self._plan.is_new_workspace:
            write_metadata(connection, "mapping", self._plan.mapping.to_json())


def _sorted_rejects(part: PlannedPart) -> list[Reject]:
    return sorted(part.read_pass.rejects, key=lambda reject: reject.line)
