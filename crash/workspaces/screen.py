"""Opens the screen in a terminal, presses keys, and checks the output."""

import os
import time
from collections.abc import Callable

from crash.command import Home, run_refold
from crash.escapes.terminal import Terminal
from crash.finding import Finding, TryResult
from crash.workspaces.stranger import FOREIGN_TYPE

_KEYS = (b"G", b"g", b"]", b"]", b"}", b"T", b"\x1b", b"C", b"\x1b", b"J", b"\x1b", b"\t", b"j")
_QUIT = (b"q", b"\x11", b"\x03")
_OPENED = b"\x1b[?1049h"
"""The sequence of a program that takes over the whole terminal."""
_SETTLED_SECONDS = 1.5
_NOTICED_SECONDS = 4.0
"""Seconds to wait; the screen checks the file every second."""
_LIMIT_SECONDS = 30.0
"""The limit for the screen, which also opens, waits between keys and draws."""
_BETWEEN_SECONDS = 0.08
_HOSTILE = (b"\x1b]52;c;ZXZpbA", b"\x1b[2J\x9b")
"""Terminal sequences in the cells of the stranger's workspace."""


def run_screen(home: Home, workspace: str, *, swap: Callable[[], None] | None = None) -> TryResult:
    """Open the screen, press some keys, leave it, and return what was found.

    `swap` is called when the screen is open; a few seconds are left then to notice it.
    """
    started = time.monotonic()
    with Terminal(b"") as terminal:
        waiting = [*_KEYS, *_QUIT]
        swaps = [swap] if swap else []
        due = 0.0

        def watch(pid: int) -> None:
            nonlocal due
            terminal.drain(pid)
            if not due:
                if _OPENED in terminal.output or time.monotonic() > started + _LIMIT_SECONDS / 3:
                    due = time.monotonic() + _SETTLED_SECONDS
            elif swaps and time.monotonic() > due:
                swaps.pop()()
                due = time.monotonic() + _NOTICED_SECONDS
            elif waiting and time.monotonic() > due:
                terminal.type(waiting.pop(0))
                due = time.monotonic() + _BETWEEN_SECONDS

        def before() -> None:
            terminal.attach()
            os.environ["TERM"] = "xterm-256color"

        outcome = run_refold(
            home, ["open", workspace], before=before, watch=watch, limit_seconds=_LIMIT_SECONDS
        )
        terminal.drain()
        output = terminal.output
    findings = []
    if outcome.hang:
        findings.append(Finding("hang", f"open: {outcome.hang}"))
    elif outcome.code not in range(5):
        findings.append(Finding("crash", f"open: ended with {outcome.code}: {output[-300:]!r}"))
    findings += [Finding(*one) for one in _broken(output)]
    return TryResult(
        findings, outcome.seconds, outcome.memory_mb, processor_seconds=outcome.processor_seconds
    )


def _broken(output: bytes) -> list[tuple[str, str]]:
    found = []
    for fault in (b"Unexpected error", b"Traceback (most recent"):
        if fault in output:
            at = output.index(fault)
            found.append(
                (fault.decode().split(" (")[0].lower(), f"open: {output[at : at + 300]!r}")
            )
    if FOREIGN_TYPE.encode() in output:
        found.append(("foreign view followed", "open: shows what a foreign view says"))
    if any(one in output for one in _HOSTILE):
        found.append(("control character", "open: a cell's escape sequence reached the terminal"))
    return found
