"""The workspace file: who may open it, for how long, and when it is refused.

DuckDB lets one process write, and then nobody else read. So nobody here keeps the file longer than
an answer takes: a reader's connection is shared inside its process and given back after `LEASE_SECONDS`
seconds, a writer opens, writes, and closes. Whoever meets a lock waits, and says for whom.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import EditMark, PositionMap
from storage.db import duckdb_errors, memory_budget
from storage.db.duckdb_errors import translate_error
from storage.db.isolated_connection import connect_isolated
from storage.db.memory_budget import MemoryBudget
from storage.errors import PositionError, StaleError, WorkspaceBusyError, WorkspaceError
from storage.quoting import quote_identifier
from storage.workspace import schema, validation_cache

MAIN_TIMELINE = "main"
"""The timeline that is the log itself."""

LEASE_SECONDS = 2.0
"""Seconds after which a reader's connection is given back, so that writers get their turn."""

READ_MEMORY_BYTES = 1_000_000_000
SCREEN_MEMORY_BYTES = 96_000_000
WRITE_BUDGET = MemoryBudget(512_000_000)
BACKGROUND_WRITE_BUDGET = MemoryBudget(512_000_000, cores=1)
"""DuckDB takes memory generously; what it may take is said here, in bytes. To read long texts it may
take more."""

_POLL_SECONDS = 0.004
_TRIES = 5
_GENERATION = "generation"
"""The fact that names a workspace's generation; see `Workspace.generation`."""
_WRITERS: dict[Path, threading.Lock] = {}
"""One lock for each workspace that this process writes: DuckDB locks files between processes only."""

OnWait = Callable[[str], None]
"""Called once, with the name of who holds the file, when an opening has to wait."""


class Workspace:
    """A `.refold` file that exists and is known to hold refold's tables and nothing else.

    Raises `WorkspaceError` where the file is missing, damaged, too new, or holds foreign objects,
    and `WorkspaceBusyError` where another process keeps it longer than `wait` seconds. It shows the
    log itself; what it looks like from a fork, `storage.timelines.forked_workspace` tells.
    """

    timeline = MAIN_TIMELINE

    def __init__(
        self,
        path: Path,
        *,
        wait_seconds: float = 30.0,
        on_wait: OnWait | None = None,
        memory_bytes: int = READ_MEMORY_BYTES,
        validate: Callable[
            [duckdb.DuckDBPyConnection, Path], None
        ] = validation_cache.validate_once,
    ) -> None:
        """`memory` is for short texts, in bytes; `look` raises where the file is none that is wanted."""
        self.path = path
        self.wait_seconds = wait_seconds
        self._on_wait = on_wait
        self._lock = threading.RLock()
        self._reader_budget = MemoryBudget(memory_bytes)
        self._computed_budgets: dict[MemoryBudget, tuple[object, MemoryBudget]] = {}
        """For what is asked for: what the file was like, and what was needed then."""
        self._is_validated = False
        self._reader_connection: duckdb.DuckDBPyConnection | None = None
        self._idle_cursors: dict[object, list[duckdb.DuckDBPyConnection]] = {}
        """Cursors that were prepared, by name, and nobody uses just now."""
        self._position_map: PositionMap | None = None
        """While the file is open, as nobody writes then."""
        self._opened_at = 0.0
        self._reader_count = 0
        self._is_writing = False
        self._is_closed = False
        self._idle_condition = threading.Condition(self._lock)
        self.generation: str | None = None
        """The generation that was read: the name that every rewrite of the file (a removal, a replacing
        load, a migration) changes. What was computed from one generation is never written into another."""
        if not path.is_file():
            raise WorkspaceError(f"There is no workspace at {path}.")
        with self.reading() as connection:
            validate(connection, path)
            self.generation = read_metadata(connection, _GENERATION)
            # Of another one it isn't known that its functions are DuckDB's.
            self._is_validated = validate is validation_cache.validate_once
            if (
                not self._is_validated
                or self._compute_budget(connection, self._reader_budget) == self._reader_budget
            ):
                return
        self.release()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for questions, valid inside the `with` and on the calling thread only."""
        with self._borrow_connection() as shared:
            cursor = shared.cursor()
            try:
                yield cursor
            finally:
                cursor.close()

    @contextmanager
    def reading_prepared(
        self, name: object, prepare: Callable[[duckdb.DuckDBPyConnection], None]
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """The same, prepared: what was made ready under a name is lent again while the file is open.

        Whoever borrows it leaves it as it was, but for what has a name of its own.
        """
        with self._borrow_connection() as shared:
            with self._lock:
                spare = self._idle_cursors.get(name)
                cursor = spare.pop() if spare else None
            if cursor is None:
                cursor = shared.cursor()
                prepare(cursor)
            try:
                yield cursor
            except BaseException:
                cursor.close()
                raise
            cursor.abort()  # an answer that nobody read to its end
            with self._lock:
                self._idle_cursors.setdefault(name, []).append(cursor)

    @contextmanager
    def _borrow_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection of all readers, open until none of them needs it."""
        with self._idle_condition:
            while self._is_writing:
                self._idle_condition.wait()
            if self._reader_connection is None:
                self._reader_connection = self._open_with_budget(
                    self._reader_budget, read_only=True
                )
                self._opened_at = time.monotonic()
            self._reader_count += 1
            shared = self._reader_connection
        try:
            yield shared
        except duckdb.Error as error:
            if duckdb_errors.is_file_error(error):
                raise translate_error(error, self.path) from error
            raise
        finally:
            with self._idle_condition:
                self._reader_count -= 1
                lease_is_over = (
                    self._is_closed or time.monotonic() - self._opened_at > LEASE_SECONDS
                )
                if self._reader_count == 0 and lease_is_over:
                    self._close_connections()
                self._idle_condition.notify_all()

    @contextmanager
    def writing(
        self, *, use_all_cores: bool = True, generation: str | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside one transaction: committed at the end, rolled back by an exception.

        It takes all cores if it is `alone`, and else one, as somebody works beside it. `generation` is
        the one that the caller's data was read from, where it was noted earlier than the last write.
        Raise `StaleError` when the file is of another generation.
        """
        with self._idle_condition:
            while self._is_writing or self._reader_count:
                self._idle_condition.wait()
            self._close_connections()
            self._is_writing = True
        try:
            with self._only_writer():
                connection = self._open_with_budget(
                    WRITE_BUDGET if use_all_cores else BACKGROUND_WRITE_BUDGET, read_only=False
                )
                was_validated, own = (
                    validation_cache.is_validated(self.path),
                    validation_cache.is_own(self.path),
                )
                if own:
                    validation_cache.remember_writing(self.path, self.path)
                try:
                    connection.execute("BEGIN")
                    self._refuse_another_generation(connection, generation)
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    connection.close()
                    if was_validated:
                        validation_cache.mark_validated(self.path, own=own)
        except duckdb.Error as error:
            raise translate_error(error, self.path) from error
        finally:
            with self._idle_condition:
                self._is_writing = False
                self._idle_condition.notify_all()

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Let no other `Workspace` of this process write the file."""
        lock = _WRITERS.setdefault(self.path.resolve(), threading.Lock())
        if not lock.acquire(timeout=self.wait_seconds):
            raise self._busy("this process")
        try:
            yield
        finally:
            lock.release()

    def _refuse_another_generation(
        self, connection: duckdb.DuckDBPyConnection, wanted: str | None
    ) -> None:
        there = read_metadata(connection, _GENERATION)
        known, self.generation = self.generation, there
        if there != known or (wanted is not None and wanted != there):
            raise StaleError(
                f"{self.path} was rewritten by another refold (a removal, a replacing load or a"
                " migration) after it was read, so nothing was written; run this again."
            )

    def reread(self) -> bool:
        """Take the file as it is now, and return whether it is of another generation than before."""
        with self.reading() as connection:
            there = read_metadata(connection, _GENERATION)
        known, self.generation = self.generation, there
        return bool(there != known)

    def release(self) -> None:
        """Give the file back if nobody in this process is reading; a screen calls it when idle.

        Never waits: who is about to read or write gives it back afterwards.
        """
        if self._lock.acquire(blocking=False):
            try:
                if self._reader_count == 0:
                    self._close_connections()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Keep no connection any longer than an answer that is on its way takes."""
        self._is_closed = True
        self.release()

    @property
    def main_workspace(self) -> "Workspace":
        """The workspace without anything laid over it."""
        return self

    @property
    def position_map(self) -> PositionMap:
        """Where events are on its timeline."""
        with self.reading() as connection:
            if self._position_map is None:
                self._position_map = PositionMap(self.count_positions(connection))
            return self._position_map

    def count_positions(self, connection: duckdb.DuckDBPyConnection) -> int:
        """How many places for events there are, which is one more than the last."""
        # Offsets are dense; on a fork's connection the name alone stands for what is left of them.
        events_table = self.main_workspace.table_sql(connection, "events")
        row = connection.execute(f"SELECT count(*) FROM {events_table}").fetchone()
        return int(row[0]) if row else 0

    @property
    def timeline_digest(self) -> str:
        """What the timeline is beside the log; empty for the log itself."""
        return ""

    def label_at(self, position: int) -> Label:
        """What the event at a place is called; the places of the log are its offsets."""
        return Label(position)

    def position_of(self, label: Label) -> int:
        """Where an event is; raises `PositionError` where there is none of that name."""
        if label.inserted:
            raise PositionError(f"{label} names an inserted event, and only a fork has those.")
        return label.offset

    def edit_marks(self, first_position: int, last_position: int) -> list[EditMark]:  # noqa: ARG002 - a fork has some
        """What was edited between two places, in order."""
        return []

    def table_sql(self, connection: duckdb.DuckDBPyConnection, name: str) -> str:
        """SQL for a table as it is on its timeline, whatever its name stands for on a connection."""
        ((database,),) = connection.execute("SELECT current_database()").fetchall()
        return f"{quote_identifier(database)}.main.{name}"

    def get_metadata(self, name: str) -> Any:
        """A value of the `workspace` table, or None."""
        with self.reading() as connection:
            return read_metadata(connection, name)

    def _open_with_budget(
        self, requested: MemoryBudget, *, read_only: bool
    ) -> duckdb.DuckDBPyConnection:
        """Open it with so much, or with what is needed as it is now."""
        state, budget = self._computed_budgets.get(requested, ("", requested))
        connection = self._wait_and_open(read_only=read_only, budget=budget)
        # A stranger's functions could be asked before it was looked through.
        if not self._is_validated:
            return connection
        try:
            self._look_again(connection)
        except BaseException:
            connection.close()
            raise
        if state == self._file_state():
            return connection
        needed = self._compute_budget(connection, requested)
        if needed == budget:
            return connection
        connection.close()
        return self._wait_and_open(read_only=read_only, budget=needed)

    def _look_again(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Validate the file if another one took its place, or somebody wrote into it."""
        for _ in range(_TRIES):
            if validation_cache.is_validated(self.path):
                return
            time.sleep(_POLL_SECONDS)  # another refold has just written, and is about to say so
        if self.path.exists():  # else it was moved away, and is open nevertheless
            validation_cache.validate_once(connection, self.path)

    def _compute_budget(
        self, connection: duckdb.DuckDBPyConnection, requested: MemoryBudget
    ) -> MemoryBudget:
        budget = memory_budget.compute_budget(connection, requested)
        self._computed_budgets[requested] = self._file_state(), budget
        return budget

    def _file_state(self) -> object:
        try:
            found = self.path.stat()
        except OSError:  # it was moved away, and is open nevertheless
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _close_connections(self) -> None:
        for spare in self._idle_cursors.values():
            for cursor in spare:
                cursor.close()
        self._idle_cursors.clear()
        self._position_map = None
        if self._reader_connection is not None:
            self._reader_connection.close()
            self._reader_connection = None

    def _wait_and_open(self, *, read_only: bool, budget: MemoryBudget) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.wait_seconds
        is_reported = False
        while True:
            before = self._file_id()
            try:
                connection = connect_isolated(self.path, read_only=read_only, budget=budget)
            except duckdb.Error as error:
                holder = duckdb_errors.find_lock_holder(error)
                if holder is None:
                    raise translate_error(error, self.path) from error
            else:
                if read_only or before == self._file_id():
                    return connection
                # Another process put a new file in its place before this one had the lock.
                connection.close()
                continue
            if time.monotonic() > deadline:
                raise self._busy(holder)
            if not is_reported and self._on_wait is not None:
                self._on_wait(holder)
                is_reported = True
            time.sleep(_POLL_SECONDS)

    def _file_id(self) -> object:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _busy(self, holder: str) -> WorkspaceBusyError:
        return WorkspaceBusyError(
            f"{self.path} is still being used by {holder}"
            f" after {self.wait_seconds:g} s; try again later or give --wait more seconds."
        )


@contextmanager
def create_workspace(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A new, empty workspace, for writing; raises what DuckDB does where there is no room."""
    connection = connect_isolated(path, read_only=False, budget=WRITE_BUDGET)
    try:
        schema.create_schema(connection)
        write_metadata(connection, "format_version", schema.FORMAT_VERSION)
        begin_generation(connection)
        yield connection
    finally:
        connection.close()


def begin_generation(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a workspace that was just written as a whole a generation of its own."""
    write_metadata(connection, _GENERATION, uuid.uuid4().hex)


def read_metadata(connection: duckdb.DuckDBPyConnection, name: str) -> Any:
    row = connection.execute("SELECT value FROM workspace WHERE name = ?", [name]).fetchone()
    return None if row is None else json.loads(row[0])


def write_metadata(connection: duckdb.DuckDBPyConnection, name: str, value: Any) -> None:
    connection.execute("DELETE FROM workspace WHERE name = ?", [name])
    connection.execute("INSERT INTO workspace VALUES (?, ?)", [name, json.dumps(value)])
