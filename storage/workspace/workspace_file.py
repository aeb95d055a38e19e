"""Opens the workspace file for reading and writing, and refuses files that aren't workspaces.

While one process writes, DuckDB lets no other process read. Connections are therefore short: readers
of a process share one connection for `LEASE_SECONDS`, and a writer opens, writes and closes. A caller
that meets a lock waits, and `OnWait` reports which process holds it.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import EditMark, PositionMap
from storage.db import duckdb_errors, memory_budget
from storage.db.duckdb_errors import translate_error
from storage.db.locked_connection import LockedConnection
from storage.db.memory_budget import MemoryBudget
from storage.errors import PositionError, StaleError, WorkspaceError
from storage.quoting import quote_identifier
from storage.workspace import validation_cache
from storage.workspace.file_opening import FileOpener, OnWait
from storage.workspace.metadata import GENERATION, read_metadata

MAIN_TIMELINE = "main"
"""The name of the log's own timeline."""
LEASE_SECONDS = 2.0
"""Seconds after which the shared reading connection is closed, to let other processes write."""

READ_MEMORY_BYTES = 1_000_000_000
SCREEN_MEMORY_BYTES = 96_000_000
WRITE_BUDGET = MemoryBudget(512_000_000)
BACKGROUND_WRITE_BUDGET = MemoryBudget(512_000_000, cores=1)
"""DuckDB takes much memory by default. Long texts may raise these; see `storage.db.memory_budget`."""

_WRITERS: dict[Path, threading.Lock] = {}
"""One lock for each workspace that this process writes: DuckDB locks files between processes only."""


class WorkspaceFile:
    """A validated `.refold` file: the workspace on the timeline `main`; see `Workspace`.

    Raises `WorkspaceError` if the file is missing, damaged, too new, or contains foreign objects, and
    `WorkspaceBusyError` if another process keeps it locked for more than `wait_seconds`.
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
        """`memory_bytes` is DuckDB's limit unless texts are long; `validate` raises to refuse the file."""
        self.path = path
        self.wait_seconds = wait_seconds
        self._file_opener = FileOpener(path, wait_seconds, on_wait)
        self._lock = threading.RLock()
        self._reader_budget = MemoryBudget(memory_bytes)
        self._computed_budgets: dict[MemoryBudget, tuple[object, MemoryBudget]] = {}
        """By requested budget: the state of the file, and the budget computed for it."""
        self._is_validated = False
        self._reader: LockedConnection | None = None
        self._idle_cursors: dict[object, list[duckdb.DuckDBPyConnection]] = {}
        """Prepared cursors that aren't in use, by name."""
        self._position_map: PositionMap | None = None
        """Cached while the file is open, because no process can write then."""
        self._opened_at = 0.0
        self._reading_threads: Counter[int] = Counter()
        """Number of running reads by the thread that began them."""
        self._writing_thread: int | None = None
        self._is_closed = False
        self._idle_condition = threading.Condition(self._lock)
        self.generation: str | None = None
        """The generation of the file that was read. Every rewrite of the file (a removal, a replacing
        load, a migration) changes it. Results computed from one generation are never written into another."""
        if not path.is_file():
            raise WorkspaceError(f"There is no workspace at {path}.")
        with self.reading() as connection:
            validate(connection, path)
            self.generation = read_metadata(connection, GENERATION)
            # Another validation doesn't prove that the file overrides no function of DuckDB.
            self._is_validated = validate is validation_cache.validate_once
            if (
                not self._is_validated
                or self._compute_budget(connection, self._reader_budget) == self._reader_budget
            ):
                return
        self.release()

    def limit_reading_memory(self, memory_bytes: int) -> None:
        """Set DuckDB's memory limit for queries; it applies when the file is opened again."""
        self._reader_budget = MemoryBudget(memory_bytes)
        self.release()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a cursor for queries, valid inside the `with` and on the calling thread only."""
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
        """Yield a cursor on which `prepare` has run, reusing an idle one of that name while the file is open.

        The caller must leave the cursor's prepared objects unchanged; it may add objects with other names.
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
            cursor.abort()  # end a result that wasn't read to its end
            with self._lock:
                self._idle_cursors.setdefault(name, []).append(cursor)

    @contextmanager
    def _borrow_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield the connection that all readers of this object share, and close it after its lease."""
        thread = threading.get_ident()
        with self._idle_condition:
            if self._writing_thread == thread:
                raise self._nested_access_error("written")
            while self._writing_thread is not None:
                self._idle_condition.wait()
            if self._reader is None:
                self._reader = self._open_with_budget(self._reader_budget, read_only=True)
                self._opened_at = time.monotonic()
            self._reading_threads[thread] += 1
            shared = self._reader.connection
        try:
            yield shared
        except duckdb.Error as error:
            if duckdb_errors.is_file_error(error):
                raise translate_error(error, self.path) from error
            raise
        finally:
            with self._idle_condition:
                self._reading_threads -= Counter((thread,))
                lease_is_over = (
                    self._is_closed or time.monotonic() - self._opened_at > LEASE_SECONDS
                )
                if not self._reading_threads and lease_is_over:
                    self._close_connections()
                self._idle_condition.notify_all()

    @contextmanager
    def writing(
        self, *, use_all_cores: bool = True, generation: str | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection inside one transaction: committed at the end, rolled back by an exception.

        Pass `use_all_cores=False` for a write in the background, which then uses one core. `generation`
        is the generation that the caller's data was read from, if this object has written since. Raises
        `StaleError` if the file has another generation.
        """
        thread = threading.get_ident()
        with self._idle_condition:
            if self._writing_thread == thread:
                raise self._nested_access_error("written")
            if self._reading_threads[thread]:
                raise self._nested_access_error("read")
            while self._writing_thread is not None or self._reading_threads:
                self._idle_condition.wait()
            self._close_connections()
            self._writing_thread = thread
        try:
            with self._only_writer():
                opened = self._open_with_budget(
                    WRITE_BUDGET if use_all_cores else BACKGROUND_WRITE_BUDGET, read_only=False
                )
                # A signal can raise an exception at any line, and the lock must be released anyway.
                with closing(opened):
                    connection = opened.connection
                    was_validated = validation_cache.is_validated(self.path)
                    own = validation_cache.is_own(self.path)
                    if own:
                        validation_cache.remember_writing(self.path, self.path)
                    try:
                        connection.execute("BEGIN")
                        self._refuse_another_generation(connection, generation)
                        yield connection
                        connection.execute("COMMIT")
                    except BaseException:
                        with suppress(duckdb.Error):
                            connection.execute("ROLLBACK")
                        raise
                    finally:
                        if was_validated:
                            self._mark_written(connection, own=own)
        except duckdb.Error as error:
            raise translate_error(error, self.path) from error
        finally:
            with self._idle_condition:
                self._writing_thread = None
                self._idle_condition.notify_all()

    def _mark_written(self, connection: duckdb.DuckDBPyConnection, *, own: bool) -> None:
        """Note that the file is still valid, while no other program can write into it.

        Closing the file changes nothing after a checkpoint. If that fails, the file is validated again.
        """
        with suppress(duckdb.Error):
            connection.execute("CHECKPOINT")
            identity = validation_cache.read_identity(self.path)
            if identity is not None:
                validation_cache.mark_validated(self.path, identity, own=own)

    def _nested_access_error(self, state: str) -> RuntimeError:
        """Return the error for an access that would wait for the one around it for ever."""
        return RuntimeError(
            f"{self.path} is being {state} on this thread, so it can't be opened again there; use the"
            " connection that is open, or end its `with` block first."
        )

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        """Keep other `Workspace` objects of this process from writing the file."""
        lock = _WRITERS.setdefault(self.path.resolve(), threading.Lock())
        if not lock.acquire(timeout=self.wait_seconds):
            raise self._file_opener.busy_error("this process")
        try:
            yield
        finally:
            lock.release()

    def _refuse_another_generation(
        self, connection: duckdb.DuckDBPyConnection, expected: str | None
    ) -> None:
        current = read_metadata(connection, GENERATION)
        known, self.generation = self.generation, current
        if current != known or (expected is not None and expected != current):
            raise StaleError(
                f"{self.path} was rewritten by another refold process (a removal, a replacing load or a"
                " migration) after it was read, so nothing was written; run this again."
            )

    def reread(self) -> bool:
        """Accept the file's current generation, and return whether it differs from the one before."""
        with self.reading() as connection:
            current = read_metadata(connection, GENERATION)
        known, self.generation = self.generation, current
        return bool(current != known)

    def release(self) -> None:
        """Close the shared connection unless a thread is reading; the screen calls this when idle.

        Never waits: a thread that is about to read or write closes the connection afterwards.
        """
        if self._lock.acquire(blocking=False):
            try:
                if not self._reading_threads:
                    self._close_connections()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close the shared connection as soon as the last running query ends."""
        self._is_closed = True
        self.release()

    @property
    def main_workspace(self) -> "WorkspaceFile":
        return self

    @property
    def lineage(self) -> tuple[()]:
        return ()

    @property
    def position_map(self) -> PositionMap:
        with self.reading() as connection:
            if self._position_map is None:
                self._position_map = PositionMap(self.count_positions(connection))
            return self._position_map

    def count_positions(self, connection: duckdb.DuckDBPyConnection) -> int:
        # Offsets of the log are dense. On a fork's connection the bare name `events` is a view with gaps.
        events_table = self.main_workspace.table_sql(connection, "events")
        row = connection.execute(f"SELECT count(*) FROM {events_table}").fetchone()
        return int(row[0]) if row else 0

    @property
    def timeline_digest(self) -> str:
        return ""

    def label_at(self, position: int) -> Label:
        return Label(position)

    def position_of(self, label: Label) -> int:
        if label.inserted:
            raise PositionError(
                f"{label} names an inserted event, and only forks have inserted events."
            )
        return label.offset

    def edit_marks(self, first_position: int, last_position: int) -> list[EditMark]:  # noqa: ARG002 - forks have edits
        return []

    def table_sql(self, connection: duckdb.DuckDBPyConnection, name: str) -> str:
        ((database,),) = connection.execute("SELECT current_database()").fetchall()
        return f"{quote_identifier(database)}.main.{name}"

    def get_metadata(self, name: str) -> Any:
        with self.reading() as connection:
            return read_metadata(connection, name)

    def _open_with_budget(self, requested: MemoryBudget, *, read_only: bool) -> LockedConnection:
        """Open the file with the requested budget, or with a larger one if its texts need it."""
        state, budget = self._computed_budgets.get(requested, ("", requested))
        opened = self._file_opener.open(read_only=read_only, budget=budget)
        # Computing a budget before validation could run functions that a stranger defined.
        if not self._is_validated:
            return opened
        try:
            self._revalidate_if_changed(opened.connection)
            if state == self._file_state():
                return opened
            needed = self._compute_budget(opened.connection, requested)
        except BaseException:
            opened.close()
            raise
        if needed == budget:
            return opened
        opened.close()
        return self._file_opener.open(read_only=read_only, budget=needed)

    def _revalidate_if_changed(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Validate the file if it was replaced, or if another process wrote into it."""
        # A file that was moved away stays open.
        if not validation_cache.is_validated(self.path) and self.path.exists():
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
        except OSError:  # a file that was moved away stays open
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _close_connections(self) -> None:
        for spare in self._idle_cursors.values():
            for cursor in spare:
                cursor.close()
        self._idle_cursors.clear()
        self._position_map = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
