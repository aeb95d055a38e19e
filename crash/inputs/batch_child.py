"""Runs many tries in one forked child, and assigns a crash, a hang or high memory to its try.

A fork for each of 100,000 inputs would take longer than the inputs themselves.
"""

import json
import math
import mmap
import os
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from crash import process_tree
from crash.command import LIMIT_MB, Home, run_function
from crash.finding import Finding, TryResult
from crash.hang import LIMIT_SECONDS, HangDetector

_BATCH = 100
"""Tries per child; few, because memory that one try leaks counts against the next."""
_NOTE = struct.Struct("qq")
_NONE = -1

Attempt = Callable[[int, Callable[[], None]], tuple[Sequence[Finding], int]]
"""Runs a try; returns its findings, and how many inputs it covered. It calls its second argument
before each command, because each command has its own limit."""


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
        note = _Note()
        monitor = _Monitor(note)
        outcome = run_function(
            home,
            lambda: _attempt_all(numbers, attempt, note, results),
            label=["batch"],
            limit_seconds=math.inf,
            watch=monitor.watch,
        )
        current, _ = note.read()
        lines = results.read_text().splitlines() if results.exists() else []
        finished = 0
        for line in lines:
            number, seconds, used, found, inputs = json.loads(line)
            findings = [Finding(**one) for one in found]
            finished += 1
            memory = monitor.memory_mb.get(number, 0.0)
            yield number, TryResult(findings, seconds, memory, inputs, processor_seconds=used)
        if finished < len(numbers):
            number = current if current in numbers[finished:] else numbers[finished]
            message = outcome.stderr.decode("utf-8", "replace")[-600:]
            if monitor.fault:
                finding = monitor.fault
            elif outcome.memory_mb > LIMIT_MB:
                finding = Finding("memory", f"{outcome.memory_mb:,.0f} MB")
            else:
                finding = Finding("crash", f"the process ended with {outcome.code}: {message}")
            yield (
                number,
                TryResult(
                    [finding],
                    monitor.seconds,
                    outcome.memory_mb,
                    processor_seconds=monitor.processor_seconds,
                ),
            )


class _Note:
    """Tells the campaign which try and which of its commands the child runs."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._write(_NONE, 0)

    def begin_try(self, number: int) -> None:
        self._write(number, 0)

    def begin_command(self) -> None:
        number, command = self.read()
        self._write(number, command + 1)

    def read(self) -> tuple[int, int]:
        """Return the number of the try, and how many commands it has begun."""
        number, command = _NOTE.unpack(self._shared[: _NOTE.size])
        return number, command

    def _write(self, number: int, command: int) -> None:
        self._shared[: _NOTE.size] = _NOTE.pack(number, command)


class _Monitor:
    """Kills the child if one command hangs, and records the peak memory of each try."""

    _EVERY_SECONDS = 0.03

    def __init__(self, note: _Note) -> None:
        self._note = note
        self._measured_at = 0.0
        self._command = (_NONE, 0)
        self._began_at = 0.0
        self._began_with = 0.0
        self._detector = HangDetector(lambda: True)
        self.memory_mb: dict[int, float] = {}
        self.fault: Finding | None = None

    @property
    def seconds(self) -> float:
        """Seconds of the clock that the last command has taken."""
        return self._measured_at - self._began_at

    @property
    def processor_seconds(self) -> float:
        """Processor time that the last command has taken."""
        return self._detector.processor_seconds - self._began_with

    def watch(self, pid: int) -> None:
        """Measure the child, at most every 30 ms."""
        now = time.monotonic()
        if now - self._measured_at < self._EVERY_SECONDS:
            time.sleep(0.01)
            return
        self._measured_at = now
        command = self._note.read()
        number = command[0]
        usage = process_tree.measure_tree(pid)
        self.memory_mb[number] = max(usage.memory_mb, self.memory_mb.get(number, 0.0))
        if command != self._command:
            self._command = command
            self._began_at, self._began_with = now, usage.processor_seconds
            self._detector = HangDetector(
                partial(process_tree.tree_has_work, pid),
                LIMIT_SECONDS,
                processor_seconds=usage.processor_seconds,
            )
        # Before the first command of a try, the campaign makes its input.
        hang = self._detector.check(usage.processor_seconds) if command[1] else ""
        if hang and self.fault is None:
            self.fault = Finding("hang", f"command {command[1]}: {hang}")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _attempt_all(numbers: Sequence[int], attempt: Attempt, note: _Note, results: Path) -> int:
    with results.open("w") as file:
        for number in numbers:
            started, used = time.monotonic(), _processor_seconds()
            note.begin_try(number)
            findings, inputs = attempt(number, note.begin_command)
            found = [vars(finding) for finding in findings]
            seconds, used = time.monotonic() - started, _processor_seconds() - used
            line = [number, round(seconds, 4), round(used, 4), found, inputs]
            file.write(json.dumps(line) + "\n")
            file.flush()
    sys.stdout.flush()
    return 0


def _processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])
