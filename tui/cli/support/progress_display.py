"""Progress bars and messages on standard error, while a command works.

Nothing here is data. Without a terminal refold prints only the messages, and no bars.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from tui.cli.support.console import PipeConsole
from tui.text.sanitize import sanitize_line

if TYPE_CHECKING:
    from rich.progress import Progress

    from replay.event_fold.fold_run import FoldProgress
    from storage.ingest import loader as storage_loading

Row = TypeVar("Row")

_reported_holders: set[str] = set()
console = PipeConsole(stderr=True, highlight=False)


def print_message(sentence: str) -> None:
    """Print a message."""
    console.print(sanitize_line(sentence), markup=False, soft_wrap=True)


def print_hint(sentence: str) -> None:
    """Print a message, unless it is empty."""
    if sentence:
        print_message(sentence)


def print_text(lines: str) -> None:
    """Print text of several lines, such as a traceback."""
    for line in lines.splitlines():
        print_message(line)


def print_waiting(holder: str) -> None:
    """Print which process locks the workspace, once for each process."""
    if holder not in _reported_holders:
        _reported_holders.add(holder)
        print_message(f"Waiting for {holder} …")


_bars: list["Progress"] = []
"""The bar that is shown, if any."""


@contextmanager
def _show_bar(bars: "Progress") -> Iterator[None]:
    _bars.append(bars)
    try:
        yield
    finally:
        _bars.remove(bars)


@contextmanager
def hide_bar() -> Iterator[None]:
    """Hide the bar while a question is on the screen."""
    for bars in _bars:
        bars.stop()
    yield
    for bars in _bars:
        bars.start()


@contextmanager
def _progress_bar(what: str) -> Iterator[Callable[[int, int, str], None]]:
    from rich.progress import (  # noqa: PLC0415 - most commands show no bar
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
    )
    quiet = not sys.stderr.isatty() or bool(os.environ.get("REFOLD_QUIET"))
    with (
        Progress(*columns, console=console, transient=True, disable=quiet) as bars,
        _show_bar(bars),
    ):
        task = bars.add_task(sanitize_line(what), total=None, note="")

        def update(done: int, total: int, note: str) -> None:
            bars.update(task, completed=done, total=total or None, note=note)

        yield update


@contextmanager
def load_bar(source: str) -> Iterator["storage_loading.OnProgress"]:
    """A bar for a load."""
    with _progress_bar(f"loading {source}") as update:
        yield lambda p: update(p.read_bytes, p.total_bytes, f"{p.events:,} events")


@contextmanager
def fold_bar(name: str) -> Iterator[Callable[["FoldProgress"], None]]:
    """A bar for a fold."""
    with _progress_bar(f"folding {name}") as update:

        def show_progress(p: "FoldProgress") -> None:
            failed = f", {p.failures:,} failures" if p.failures else ""
            update(p.folded, p.events, f"{p.folded:,} of {p.events:,} events{failed}")

        yield show_progress


@contextmanager
def recording_bar(name: str) -> Iterator[Callable[[int, int, int], None]]:
    """A bar for a run with live calls."""
    with _progress_bar(f"recording {name}") as update:
        yield lambda done, total, calls: update(done, total, f"{calls:,} calls")


@contextmanager
def sweep_bar(forks: int) -> Iterator[Callable[[int], None]]:
    """A bar for a sweep."""
    with _progress_bar("sweeping") as update:
        yield lambda done: update(done, forks, f"{done:,} of {forks:,} forks")


@contextmanager
def rewrite_bar(events: int) -> Iterator[Callable[[int], None]]:
    """A bar for rewriting a workspace."""
    with _progress_bar("rewriting") as update:
        yield lambda rows: update(min(rows, events), events, f"{rows:,} rows")


@contextmanager
def file_bar(file: str) -> Iterator[Callable[[int], None]]:
    """A bar for writing a file; its total is unknown."""
    with _progress_bar(f"writing {file}") as update:
        yield lambda events: update(0, 0, f"{events:,} events")


@contextmanager
def busy_bar(what: str) -> Iterator[None]:
    """A bar without a percentage, for work of unknown length."""
    with _progress_bar(what):
        yield


def rows_with_bar(name: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows of a query, with a bar until the first row comes."""
    with _progress_bar(f"querying {name}"):
        first = list(islice(rows, 1))
    yield from first
    yield from rows


@contextmanager
def check_bar(what: str, name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for a check that folds."""
    with _progress_bar(f"checking the {what} of {name}") as update:
        yield lambda done, total: update(done, total, f"{done:,} of {total:,} events")
