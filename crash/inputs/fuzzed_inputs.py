"""The part `inputs`: make an input, run its commands, and check their output and their files."""

import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from crash.captured_command import CapturedCommands
from crash.command import Home, run_refold
from crash.finding import Finding, TryResult
from crash.inputs import seeds
from crash.inputs.batch_child import run_batches
from crash.inputs.kinds import COPY, KINDS, WORKSPACE, FuzzKind, prepare_folder
from crash.output_rules import broken_texts

_REAL_EVERY = 50
"""Every so many tries one runs in its own processes, as a person runs it."""
_INPUTS_OF_THOUSAND_TRIES = 20_000
"""Inputs in a thousand tries, because a file of records holds many."""
_LEFT_OVER = (".loading-", ".tmp", ".partial", "-unfinished-")


class FuzzedInputs:
    """The part of the campaign that fuzzes inputs."""

    name = "inputs"

    @staticmethod
    def kinds(count: int) -> dict[str, int]:
        """Return how many tries of each kind make up `count` inputs."""
        thousands = count / _INPUTS_OF_THOUSAND_TRIES
        found = {name: math.ceil(kind.share * thousands) for name, kind in KINDS.items()}
        # There are five bombs, and some take seconds.
        return {**found, "bombs": min(found["bombs"], 20)}

    def __init__(self, folder: Path, seed: int) -> None:
        self._templates = folder / "templates"
        self._home = Home(folder / "work")
        self._seed = seed
        self._commands: CapturedCommands | None = None

    def run(self, kind: str, numbers: Sequence[int]) -> Iterator[tuple[int, TryResult]]:
        """Yield the results of tries of one kind."""
        self._prepare()
        fuzzed = KINDS[kind]
        if kind == "bombs":  # making them takes seconds, and children inherit them
            seeds.bombs()
        yield from run_batches(self._home, numbers, partial(self._attempt, kind, fuzzed))

    def _prepare(self) -> None:
        if not self._templates.exists():
            home = Home(self._templates, {"HOME": str(self._home.folder / "home")})
            self._templates.mkdir(parents=True)

            def run(*arguments: str) -> None:
                outcome = run_refold(home, arguments, limit_seconds=60)
                if outcome.code != 0:
                    raise RuntimeError(f"{arguments} fails: {outcome.stderr!r}")

            prepare_folder(self._templates, run)
            shutil.rmtree(self._templates / "home", ignore_errors=True)
        self._home.folder.mkdir(parents=True, exist_ok=True)

    def _attempt(
        self, kind: str, fuzzed: FuzzKind, number: int, begin_command: Callable[[], None]
    ) -> tuple[list[Finding], int]:
        """Make one input and run its commands; a child calls this in the folder."""
        if self._commands is None:
            self._commands = CapturedCommands()
        folder = self._home.folder
        self._clear(folder, needs_copy=fuzzed.needs_copy)
        plan = fuzzed.plan(random.Random(f"{self._seed}/{kind}/{number}"), folder)
        is_real = number % _REAL_EVERY == _REAL_EVERY - 1
        found = []
        for arguments in plan.commands:
            begin_command()
            found += _run_real(arguments) if is_real else self._commands.run(arguments)
        found += _left_over(folder)
        return found, plan.inputs

    def _clear(self, folder: Path, *, needs_copy: bool) -> None:
        for path in folder.iterdir():
            if path.is_dir() and path.name != "home":
                shutil.rmtree(path)
            elif path.is_file() and path.name not in (WORKSPACE, "orders.py"):
                path.unlink()
        for name in (WORKSPACE, "orders.py"):
            if not (folder / name).exists():
                shutil.copy(self._templates / name, folder / name)
        if needs_copy:
            shutil.copy(self._templates / WORKSPACE, folder / COPY)


def _run_real(arguments: Sequence[str]) -> list[Finding]:
    command = [sys.executable, "-P", "-m", "tui.cli", *arguments]
    done = subprocess.run(command, check=False, capture_output=True)
    found = list(broken_texts(arguments, done.stdout, done.stderr))
    if done.returncode < 0:
        found.append(Finding("crash", f"{' '.join(arguments)[:500]}: signal {-done.returncode}"))
    elif done.returncode not in range(5):
        found.append(Finding("exit code", f"{' '.join(arguments)[:500]}: {done.returncode}"))
    return found


def _left_over(folder: Path) -> list[Finding]:
    left = [p.name for p in folder.iterdir() if any(part in p.name for part in _LEFT_OVER)]
    return [Finding("file left", ", ".join(sorted(left)))] if left else []
