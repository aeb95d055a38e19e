"""The part `workspaces`: every command on a stranger's workspace, and consent by name."""

import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crash.campaign import spread
from crash.captured_command import CapturedCommands
from crash.command import Home, run_function
from crash.file_watch import FileWatch
from crash.finding import Finding, TryResult
from crash.inputs.batch_child import run_batches
from crash.workspaces.consent import CONSENTS, Consents
from crash.workspaces.screen import run_screen
from crash.workspaces.stranger import (
    FORK,
    MAKERS,
    SHARES,
    WORKSPACE,
    Lures,
    Making,
    make_original,
    swap_events,
)

_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("timelines", WORKSPACE, "--json", "--edits"),
    ("events", WORKSPACE, "--json"),
    ("events", WORKSPACE, "--timeline", FORK),
    ("state", WORKSPACE, "-p", "orders", "--json"),
    ("state", WORKSPACE, "-p", "orders", "--at", "order-1@1", "--timeline", FORK),
    ("diff", WORKSPACE, "-p", "orders", "--from", "3", "--to", "30", "--json"),
    ("blame", WORKSPACE, "-p", "orders", "--key", "order-1", "total", "--all", "--json"),
    ("find", WORKSPACE, "-p", "orders", "state.total > 10", "--json"),
    ("check", WORKSPACE, "-p", "orders", "--json"),
    ("values", WORKSPACE, "-p", "orders", "sum(state.total)", "--json"),
    ("failures", WORKSPACE, "-p", "orders", "--json"),
    ("causes", WORKSPACE, "--at", "5", "--json"),
    ("irregularities", WORKSPACE, "--json"),
    ("calls", WORKSPACE, "--json"),
    ("calls", WORKSPACE, "-p", "orders", "--json"),
    ("compare", WORKSPACE, "main", FORK, "-p", "orders", "--json"),
    ("sql", WORKSPACE, "SELECT count(*) FROM events", "--json"),
    ("export", WORKSPACE, "out.jsonl", "--timeline", FORK, "--replace"),
    ("fork-export", WORKSPACE, FORK, "f.json"),
    ("calls-export", WORKSPACE, "c.jsonl"),
    ("replay", WORKSPACE, "-p", "orders.py", "--json"),
    ("replay", WORKSPACE, "-p", "orders.py", "--timeline", FORK, "--json"),
    ("fork", WORKSPACE, "new", "--drop", "3", "--json"),
    ("edit", WORKSPACE, "b", "--drop", "8", "--json"),
    ("load", "log.jsonl", "-o", WORKSPACE, "--json"),
    ("migrate", WORKSPACE, "--json"),
    ("remove", WORKSPACE, "--stream", "order-2", "--yes", "--json"),
)
_MOST_HANGS = 3
"""Most hangs to record per workspace; each costs ten seconds, and more show nothing new."""


class HostileWorkspaces:
    """The part of the campaign with workspaces from strangers."""

    name = "workspaces"

    def __init__(self, folder: Path, seed: int) -> None:
        self._original = folder / "original"
        self._home = Home(folder / "work")
        self._lures = Lures(folder / "lures")
        self._consents = Consents(folder / "consent")
        self._seed = seed
        self._put_stamp: tuple[int, ...] = ()

    @staticmethod
    def kinds(count: int) -> dict[str, int]:
        """Return how many workspaces of each kind make up `count`, and the tries of consent."""
        if count < len(SHARES):
            return {**spread(list(SHARES), count), "consent": 2}
        total = sum(SHARES.values())
        kinds = {kind: math.ceil(count * share / total) for kind, share in SHARES.items()}
        return {**kinds, "consent": len(CONSENTS)}

    def run(self, kind: str, numbers: Sequence[int]) -> Iterator[tuple[int, TryResult]]:
        """Yield the results of workspaces of one kind."""
        for number in numbers:
            if kind == "consent":
                yield number, self._consents.run(number)
            else:
                self._prepare()
                yield number, self._attempt(kind, number)

    def _prepare(self) -> None:
        if self._original.exists():
            return
        self._home.folder.mkdir(parents=True)
        self._lures.write()
        make_original(self._home)
        shutil.copytree(self._home.folder, self._original)

    def _attempt(self, kind: str, number: int) -> TryResult:
        """Make one workspace, and run every command on a copy."""
        self._restore()
        path = self._home.folder / WORKSPACE
        draw = random.Random(f"{self._seed}/{kind}/{number}")
        making = Making(path, draw, number, self._lures)
        made = run_function(self._home, lambda: _make(kind, making))
        if made.code != 0:
            raise RuntimeError(made.stderr.decode("utf-8", "replace")[-1_000:])
        stranger = self._home.folder / "stranger"
        _copy(path, stranger)
        findings: list[Finding] = []
        seconds = memory = used = 0.0
        with FileWatch([self._lures.canary, self._lures.ran]) as watch:
            commands = CapturedCommands()
            numbers = range(0 if kind == "swapped" else len(_COMMANDS))
            for command, result in run_batches(
                self._home,
                numbers,
                lambda n, begin: (self._run_one(commands, stranger, n, begin), 1),
            ):
                command_line = " ".join(_COMMANDS[command])
                findings += [
                    Finding(f.fault, f"{command_line}: {f.detail}") for f in result.findings
                ]
                findings += self._touched(watch, command_line)
                if sum(finding.fault == "hang" for finding in findings) >= _MOST_HANGS:
                    break
                seconds, memory = max(seconds, result.seconds), max(memory, result.memory_mb)
                used = max(used, result.processor_seconds)
            self._put(stranger)
            screen = run_screen(
                self._home, WORKSPACE, swap=self._swap if kind == "swapped" else None
            )
            findings += [*screen.findings, *self._touched(watch, "open")]
        memory, used = max(memory, screen.memory_mb), max(used, screen.processor_seconds)
        return TryResult(
            findings,
            max(seconds, screen.seconds),
            memory,
            len(_COMMANDS) + 1,
            processor_seconds=used,
        )

    def _run_one(
        self,
        commands: CapturedCommands,
        stranger: Path,
        number: int,
        begin_command: Callable[[], None],
    ) -> list[Finding]:
        self._put(stranger)
        begin_command()
        return commands.run([*_COMMANDS[number]])

    def _restore(self) -> None:
        shutil.rmtree(self._home.folder, ignore_errors=True)
        shutil.copytree(self._original, self._home.folder)
        self._lures.write()

    def _put(self, stranger: Path) -> None:
        """Restore the stranger's workspace if a command changed it."""
        path = self._home.folder / WORKSPACE
        if path.is_file() and _stamp(path) == self._put_stamp:
            return
        path.unlink(missing_ok=True)
        Path(f"{path}.wal").unlink(missing_ok=True)
        _copy(stranger, path)
        self._put_stamp = _stamp(path)

    def _swap(self) -> None:
        """Replace a table by a foreign view while the screen is open."""
        path = self._home.folder / WORKSPACE
        swapped = run_function(self._home, lambda: swap_events(path))
        if swapped.code != 0:
            raise RuntimeError(swapped.stderr.decode("utf-8", "replace")[-1_000:])

    def _touched(self, watch: FileWatch, command_line: str) -> Iterator[Finding]:
        opened = watch.opened()
        if self._lures.ran in opened:
            yield Finding("ran without consent", command_line)
        if self._lures.canary in opened:
            yield Finding("path touched", f"{command_line}: opened a file that the workspace names")


def _make(kind: str, making: Making) -> int:
    MAKERS[kind](making)
    return 0


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(source.readlink())
    else:
        shutil.copy(source, target)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return a value that changes when a file is written; it follows no links."""
    state = path.lstat()
    return state.st_ino, state.st_mtime_ns, state.st_size
