"""What a command tells while it works, on standard error: progress, warnings, whom it waits for.

Nothing here is data. Without a terminal there is no bar, and only sentences are printed.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from tui.text.sanitize import sanitize_line

if TYPE_CHECKING:
    from rich.progress import Progress

    from replay.event_fold.fold_run import FoldProgress
    from storage.ingest import loader as storage_loading

Row = TypeVar("Row")

_reported_holders: set[str] = set()
console = Console(stderr=True, highlight=False)


def print_message(sentence: str) -> None:
    """A sentence for the person."""
    console.print(sanitize_line(sentence), markup=False, soft_wrap=True)


def print_hint(sentence: str) -> None:
    """A sentence that may be empty, where there is nothing to tell."""
    if sentence:
        print_message(sentence)


def print_text(lines: str) -> None:
    """Text of several lines, such as a traceback."""
    for line in lines.splitlines():
        print_message(line)


def print_waiting(holder: str) -> None:
    """The workspace is locked by another process; told once, however often they take turns."""
    if holder not in _reported_holders:
        _reported_holders.add(holder)
        print_message(f"Waiting for {holder} …")


_bars: list["Progress"] = []
"""The bar that is shown, if one is."""


@contextmanager
def _show_bar(bars: "Progress") -> Iterator[None]:
    _bars.append(bars)
    try:
        yield
    finally:
        _bars.remove(bars)


@contextmanager
def hide_bar() -> Iterator[None]:
    """Put the bar away while a person is asked something."""
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

        def told(p: "FoldProgress") -> None:
            failed = f", {p.failures:,} failures" if p.failures else ""
            update(p.folded, p.events, f"{p.folded:,} of {p.events:,} events{failed}")

        yield told


@contextmanager
def recording_bar(name: str) -> Iterator[Callable[[int, int, int], None]]:
    """A bar for a run that goes out."""
    with _progress_bar(f"recording {name}") as update:
        yield lambda done, total, calls: update(done, total, f"{calls:,} calls")


@contextmanager
def sweep_bar(forks: int) -> Iterator[Callable[[int], None]]:
    """A bar for a sweep."""
    with _progress_bar("sweeping") as update:
        yield lambda done: update(done, forks, f"{done:,} of {forks:,} forks")


@contextmanager
def rewrite_bar(events: int) -> Iterator[Callable[[int], None]]:
    """A bar for a workspace that is written anew."""
    with _progress_bar("writing anew") as update:
        yield lambda rows: update(min(rows, events), events, f"{rows:,} rows")


@contextmanager
def file_bar(file: str) -> Iterator[Callable[[int], None]]:
    """A bar for a file that is written."""
    with _progress_bar(f"writing {file}") as update:
        yield lambda events: update(0, 0, f"{events:,} events")


@contextmanager
def busy_bar(what: str) -> Iterator[None]:
    """A bar for what can't tell how far it is."""
    with _progress_bar(what):
        yield


def rows_with_bar(name: str, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of a question, with a bar until the first of them is there."""
    with _progress_bar(f"asking {name}"):
        first = list(islice(rows, 1))
    yield from first
    yield from rows


@contextmanager
def check_bar(what: str, name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for a check that folds."""
    with _progress_bar(f"checking the {what} of {name}") as update:
        yield lambda done, total: update(done, total, f"{done:,} of {total:,} events")
