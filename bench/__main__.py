"""`python -m bench [--events N] [--small N] [PART…]`: print the figures."""

import argparse
import os
import platform
import sys
from pathlib import Path

from bench import ask, calls, edit, fold, forks, large, load, logs, many, relational, screen, seek
from replay import folding, reference
from storage import loading
from storage.workspace import Workspace

_PARTS = (
    "load",
    "fold",
    "many",
    "large",
    "relational",
    "seek",
    "ask",
    "edit",
    "calls",
    "forks",
    "screen",
)


def main() -> None:
    """Measure the parts that are asked for, in the order in which they need each other."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_PARTS))
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args()
    parts = wanted.parts or list(_PARTS)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {wanted.events:,} events")
    if "load" in parts:
        _say(load.figures(wanted.events, wanted.runs))
    for events in (wanted.small, wanted.events):
        _folded(events)
    if "fold" in parts:
        _say(fold.figures(wanted.events, wanted.runs))
    if "many" in parts:
        _say(many.figures(wanted.keys))
    if "large" in parts:
        _say(large.figures(runs=wanted.runs))
    if "relational" in parts:
        _say(relational.figures(wanted.events, wanted.runs))
    if "seek" in parts:
        _say(seek.figures(wanted.small, wanted.events))
    if "ask" in parts:
        _say(ask.figures(wanted.events))
    if "edit" in parts:
        _say(edit.figures(wanted.small, wanted.runs))
    if "calls" in parts:
        _say(calls.figures(wanted.events // 5, wanted.runs))
    if "forks" in parts:
        _say(forks.figures(wanted.events))
    if "screen" in parts:
        _say(screen.figures(wanted.small, wanted.events))


def _folded(events: int) -> None:
    """A workspace with a history, where there is none yet."""
    target = logs.workspace(events)
    if not target.exists():
        loading.load([str(logs.orders(events))], target)
    projection = reference.parse(str(logs.PROJECTION), sys.executable, Path.cwd())
    folding.fold(Workspace(target), projection)


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
