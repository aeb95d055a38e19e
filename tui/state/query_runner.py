"""Queries off the screen's thread: one way to run them, to cancel them and to report their errors.

A query runs in a thread and returns a value. Its result, its intermediate results and its error are
delivered on the screen's thread, but not after it was cancelled.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from storage.errors import RefoldError, summarize_error

Result = TypeVar("Result")
Work = Callable[["Query"], Result]
"""What a query does, in a thread. It gets the query, to check for a cancellation and to report."""
Deliver = Callable[..., object]


class Query:
    """One running query."""

    def __init__(self, call_on_screen: Callable[..., object]) -> None:
        """`call_on_screen` calls a function on the screen's thread, and waits for it."""
        self._call_on_screen = call_on_screen
        self._cancelled = threading.Event()
        self.is_finished = False
        self.thread: ThreadHandle | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether the result is no longer wanted: it was cancelled, or its screen is gone."""
        gone = self.thread is not None and self.thread.is_cancelled
        return gone or self._cancelled.is_set()

    def cancel(self) -> None:
        """Drop the result and the error; the work may check `is_cancelled` and end earlier."""
        self._cancelled.set()
        self.is_finished = True
        if self.thread is not None:
            self.thread.cancel()

    def report(self, take: Callable[..., object], *values: object) -> None:
        """Hand values to the screen's thread before the end, unless the query was cancelled."""
        if not self.is_cancelled:
            self._call_on_screen(self._report, take, *values)

    def report_cancellation(self, take: Callable[..., object], *values: object) -> None:
        """Hand values to the screen's thread although the query was cancelled."""
        self._call_on_screen(take, *values)

    def _report(self, take: Callable[..., object], *values: object) -> None:
        if not self.is_cancelled:  # it may have been cancelled on the way
            take(*values)


class QueryRunner(Protocol):
    """Runs queries in threads."""

    def run(
        self,
        work: Work[Result],
        then: Callable[[Result], object] | None = None,
        *,
        group: str = "",
        failure: str = "The query failed",
        on_error: Callable[[str], object] | None = None,
    ) -> Query:
        """Run `work` in a thread, then hand its result to `then` on the screen's thread.

        A query of a named group cancels the one before it in this group. `failure` precedes the
        text of an unexpected error. `on_error` takes the message; default: show it.
        """

    def cancel(self, group: str) -> bool:
        """Cancel the running query of a group; return whether there was one."""


class ThreadHandle(Protocol):
    """A thread that a `ThreadHost` runs."""

    @property
    def is_cancelled(self) -> bool: ...

    def cancel(self) -> None: ...


class ThreadHost(Protocol):
    """A screen or a widget that runs threads for as long as it exists."""

    def run_worker(
        self, work: Callable[[], object], *, thread: bool, group: str, exit_on_error: bool
    ) -> Any: ...

    @property
    def app(self) -> Any: ...


class ThreadQueryRunner:
    """The `QueryRunner` of a screen."""

    def __init__(self, host: ThreadHost, show_error: Callable[[str], object]) -> None:
        self._host = host
        self._show_error = show_error
        self._latest: dict[str, Query] = {}

    def run(
        self,
        work: Work[Result],
        then: Callable[[Result], object] | None = None,
        *,
        group: str = "",
        failure: str = "The query failed",
        on_error: Callable[[str], object] | None = None,
    ) -> Query:
        query = Query(self._host.app.call_from_thread)
        if group:
            self.cancel(group)
            self._latest[group] = query
        end = partial(_finish, query, then, on_error or self._show_error)
        run = partial(_run, query, work, end, failure, has_taker=then is not None)
        query.thread = self._host.run_worker(
            run, thread=True, group=group or "queries", exit_on_error=False
        )
        return query

    def cancel(self, group: str) -> bool:
        query = self._latest.get(group)
        if query is None or query.is_finished:
            return False
        query.cancel()
        return True


def _run(
    query: Query, work: Work[Result], end: Callable[..., object], failure: str, *, has_taker: bool
) -> None:
    """Run a query in its thread; without a taker, only an error needs the screen's thread."""
    result: Result | None = None
    error: str | None = None
    try:
        result = work(query)
    except RefoldError as raised:
        error = raised.message
    except Exception as raised:  # noqa: BLE001 - a query that failed must not end the screen
        error = f"{failure}: {summarize_error(raised)}"
    if error is None and not has_taker:
        query.is_finished = True
    else:
        query.report(end, result, error)


def _finish(
    query: Query,
    then: Callable[[Any], object] | None,
    on_error: Callable[[str], object],
    result: object,
    error: str | None,
) -> None:
    """Deliver the end of a query, on the screen's thread."""
    query.is_finished = True
    if error is not None:
        on_error(error)
    elif then is not None:
        then(result)
