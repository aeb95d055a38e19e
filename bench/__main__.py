"""`python -m bench [--events N] [--small N] [PART…]`: print the figures."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench import (
    ask,
    calls,
    edit,
    fold,
    forks,
    large,
    load,
    logs,
    many,
    relational,
    screen,
    seek,
    sources,
)
from replay.fold import fold_projection
from replay.projection import projection_reference
from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile

_UNFOLDED = ("load", "sources")
"""Parts that need no folded workspace."""


def main() -> None:
    """Run the parts that the arguments name, in the order of their dependencies."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_parts(None)))
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args()
    parts = _parts(wanted)
    asked = [part for part in parts if part in (wanted.parts or parts)]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {wanted.events:,} events")
    for part in asked:
        if part in _UNFOLDED:
            _print_lines(parts[part]())
    for events in (wanted.small, wanted.events):
        _fold_if_missing(events)
    for part in asked:
        if part not in _UNFOLDED:
            _print_lines(parts[part]())


def _parts(w: Any) -> dict[str, Callable[[], Iterable[str]]]:
    """Return the parts by name."""
    return {
        "load": lambda: load.figures(w.events, w.runs),
        "sources": lambda: sources.figures(w.events // 5),
        "fold": lambda: fold.figures(w.events, w.runs),
        "many": lambda: many.figures(w.keys),
        "large": lambda: large.figures(runs=w.runs),
        "relational": lambda: relational.figures(w.events, w.runs),
        "seek": lambda: seek.figures(w.small, w.events),
        "ask": lambda: ask.figures(w.events),
        "edit": lambda: edit.figures(w.small, w.runs),
        "calls": lambda: calls.figures(w.events // 5, w.runs),
        "forks": lambda: forks.figures(w.events),
        "screen": lambda: screen.figures(w.small, w.events),
    }


def _fold_if_missing(events: int) -> None:
    """Load and fold the log of so many events, unless that was done before."""
    target = logs.workspace(events)
    if not target.exists():
        loader.load_source([str(logs.orders(events))], target)
    projection = projection_reference.parse_reference(
        str(logs.PROJECTION), sys.executable, Path.cwd()
    )
    fold_projection(WorkspaceFile(target), projection)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
