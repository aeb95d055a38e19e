"""Runs many tries in one forked child, and assigns a crash, a hang or high memory to its try.

A fork for each of 100,000 inputs would take longer than the inputs themselves.
"""

import json
import mmap
import os
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crash import process_tree
from crash.command import LIMIT_MB, LIMIT_SECONDS, Home, run_function
from crash.finding import Finding, TryResult

_BATCH = 100
"""Tries per child; few, because memory that one try leaks counts against the next."""
_NOTE = struct.Struct("qd")
_NONE = -1

Attempt = Callable[[int], tuple[Sequence[Finding], int]]
"""Runs a try; returns its findings, and how many inputs it covered."""


def run_batches(
    home: Home, numbers: Sequence[int], attempt: Attempt
) -> Iterator[tuple[int, TryResult]]:
    """Yield the result of each try; a child in the folder of `home` calls `attempt`."""
    waiting = list(numbers)
    while waiting:
        batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
        done = 0
        for number, result in _run_batch(home, batch, attempt):
            done += 1
            yield number, result
        waiting = batch[done:] + waiting


def _run_batch(
    home: Home, numbers: Sequence[int], attempt: Attempt
) -> Iterator[tuple[int, TryResult]]:
    """Yield the results of these tries, up to the first try that ends the child."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        note = mmap.mmap(-1, mmap.PAGESIZE)
        note[: _NOTE.size] = _NOTE.pack(_NONE, time.monotonic())
        monitor = _Monitor(note)
        outcome = run_function(
            home,
            lambda: _attempt_all(numbers, attempt, note, results),
            label=["batch"],
            limit_seconds=3_600,
            watch=monitor.watch,
        )
        current, _ = _NOTE.unpack(note[: _NOTE.size])
        lines = results.read_text().splitlines() if results.exists() else []
        finished = 0
        for line in lines:
            number, seconds, found, inputs = json.loads(line)
            findings = [Finding(**one) for one in found]
            finished += 1
            memory = monitor.memory_mb.get(number, 0.0)
            yield number, TryResult(findings, seconds, memory, inputs)
        if finished < len(numbers):
            number = current if current in numbers[finished:] else numbers[finished]
            message = outcome.stderr.decode("utf-8", "replace")[-600:]
            if monitor.fault:
                finding = monitor.fault
            elif outcome.memory_mb > LIMIT_MB:
                finding = Finding("memory", f"{outcome.memory_mb:,.0f} MB")
            else:
                finding = Finding("crash", f"the process ended with {outcome.code}: {message}")
            yield number, TryResult([finding], monitor.seconds, outcome.memory_mb)


class _Monitor:
    """Kills the child if one try takes too long, and records the peak memory of each try."""

    _EVERY_SECONDS = 0.03

    def __init__(self, note: mmap.mmap) -> None:
        self._note = note
        self._measured_at = 0.0
        self.memory_mb: dict[int, float] = {}
        self.seconds = 0.0
        self.fault: Finding | None = None

    def watch(self, pid: int) -> None:
        """Measure the child, at most every 30 ms."""
        now = time.monotonic()
        if now - self._measured_at < self._EVERY_SECONDS:
            time.sleep(0.01)
            return
        self._measured_at = now
        number, since = _NOTE.unpack(self._note[: _NOTE.size])
        self.seconds = now - since
        memory = process_tree.tree_memory_mb(pid)
        self.memory_mb[number] = max(memory, self.memory_mb.get(number, 0.0))
        if number != _NONE and self.seconds > LIMIT_SECONDS and self.fault is None:
            self.fault = Finding("hang", f"did not end within {LIMIT_SECONDS:g} s")
            os.kill(pid, signal.SIGKILL)


def _attempt_all(numbers: Sequence[int], attempt: Attempt, note: mmap.mmap, results: Path) -> int:
    with results.open("w") as file:
        for number in numbers:
            started = time.monotonic()
            note[: _NOTE.size] = _NOTE.pack(number, started)
            findings, inputs = attempt(number)
            found = [vars(finding) for finding in findings]
            seconds = round(time.monotonic() - started, 4)
            file.write(json.dumps([number, seconds, found, inputs]) + "\n")
            file.flush()
    sys.stdout.flush()
    return 0
