"""One try of the kills: stop a command, check what it left, run it again, compare the rows."""

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crash.command import Home, Outcome, run_refold
from crash.finding import Finding, TryResult
from crash.kills.kill_commands import COMMANDS, WORKSPACE, KillCommand
from crash.kills.syscall_stop import Stop, SyscallStop
from crash.kills.workspace_rows import (
    Rows,
    UnreadableWorkspaceError,
    difference,
    lost,
    read_rows,
)
from crash.output_rules import broken_rules

_RANDOM_TIME = "random time"
_MODES: tuple[Stop | str, ...] = (
    *(Stop.KILL, Stop.KILL, Stop.TERMINATE, Stop.KILL, _RANDOM_TIME),
    *(Stop.KILL, Stop.DISK_FULL, Stop.KILL, Stop.INTERRUPT, Stop.KILL),
)
_GOLDEN = 0.6180339887498949
_USUAL_SECONDS = 60.0
"""The limit of the undisturbed run; long, because each file change waits for the campaign."""
_UNRELATED_ADVICE = ("damaged", "restore a copy")
"""Words that a message about a full disk must not contain."""


@dataclass(frozen=True)
class _Undisturbed:
    """The rows and files before and after an undisturbed run, and its number of file changes."""

    before: Rows | None
    after: Rows | None
    files_before: dict[str, bytes]
    files_after: dict[str, bytes]
    changes: int
    seconds: float


class StoppedCommands:
    """Runs the tries that stop a command; prepares each command's folder once."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._templates = folder / "templates"
        self._home = Home(folder / "work")
        self._seed = seed
        self._undisturbed: dict[str, _Undisturbed] = {}

    def run(self, kind: str, number: int) -> TryResult:
        """Stop the command of this kind; the number chooses how and where."""
        command = COMMANDS[kind]
        usual = self._undisturbed.get(kind) or self._run_undisturbed(command)
        self._undisturbed[kind] = usual
        self._restore(command)
        # Each kind begins with another way to stop, so that few tries of many kinds cover all ways.
        mode = _MODES[(number + list(COMMANDS).index(kind)) % len(_MODES)]
        stop, outcome = self._run_stopped(command, usual, mode, number)
        findings = [*self._check(command, usual, mode, outcome)]
        stop_text = (
            f"{mode if isinstance(mode, str) else mode.value} at {stop.at} of {usual.changes}"
        )
        return TryResult(
            [Finding(f.fault, f"{stop_text} ({stop.last}): {f.detail}") for f in findings],
            outcome.seconds,
            outcome.memory_mb,
            processor_seconds=outcome.processor_seconds,
        )

    def _run_undisturbed(self, command: KillCommand) -> _Undisturbed:
        template = self._template(command)
        if not template.exists():
            shutil.rmtree(self._home.folder, ignore_errors=True)
            (self._home.folder / "home").mkdir(parents=True)
            command.prepare(self._home)
            shutil.copytree(self._home.folder, template)
        self._restore(command)
        before, files_before = self._rows(command), self._files()
        stop = SyscallStop(self._home.folder)
        started = time.monotonic()
        outcome = command.run(
            self._home, before=stop.install, watch=stop.answer, limit_seconds=_USUAL_SECONDS
        )
        stop.close()
        if outcome.code != 0:
            raise RuntimeError(f"{command.name} fails undisturbed: {outcome.stderr!r}")
        return _Undisturbed(
            before,
            self._rows(command),
            files_before,
            self._files(),
            stop.count,
            time.monotonic() - started,
        )

    def _restore(self, command: KillCommand) -> None:
        shutil.rmtree(self._home.folder, ignore_errors=True)
        shutil.copytree(self._template(command), self._home.folder)

    def _template(self, command: KillCommand) -> Path:
        """Return the folder that the command needs; commands with the same preparation share it."""
        return self._templates / command.prepare.__name__.strip("_")

    def _run_stopped(
        self, command: KillCommand, usual: _Undisturbed, mode: Stop | str, number: int
    ) -> tuple[SyscallStop, Outcome]:
        # Multiples of the golden ratio spread evenly over all changes, for any number of tries.
        share = (number * _GOLDEN + random.Random(self._seed).random()) % 1
        if isinstance(mode, str):
            stop = SyscallStop(self._home.folder)
            stop.close()
            return stop, command.run(self._home, kill_after_seconds=share * usual.seconds)
        stop = SyscallStop(self._home.folder, mode, 1 + int(share * usual.changes))
        outcome = command.run(self._home, before=stop.install, watch=stop.answer)
        stop.close()
        return stop, outcome

    def _check(
        self, command: KillCommand, usual: _Undisturbed, mode: Stop | str, outcome: Outcome
    ) -> Iterator[Finding]:
        if isinstance(mode, str):
            if outcome.survivors:
                yield Finding("process left", f"still run: {'; '.join(outcome.survivors)}")
        else:
            yield from broken_rules(outcome, may_be_killed=mode is not Stop.DISK_FULL)
        if mode is Stop.DISK_FULL:
            message = outcome.stderr.decode("utf-8", "replace")
            if any(words in message.lower() for words in _UNRELATED_ADVICE):
                yield Finding("wrong advice", message)
        if mode in (Stop.DISK_FULL, Stop.TERMINATE, Stop.INTERRUPT):
            yield from self._left_over(usual, "at once")
        yield from self._files_are_whole(command, usual)
        try:
            rows = self._rows(command)
        except UnreadableWorkspaceError as error:
            yield Finding("workspace does not open", str(error))
            return
        if rows is not None:
            opened = run_refold(self._home, ["timelines", WORKSPACE, "--json"])
            yield from broken_rules(opened)
            if opened.code != 0 and command.name != "migrate":
                yield Finding("workspace does not open", opened.stderr.decode("utf-8", "replace"))
        yield from self._half_done(command, usual, mode, rows, outcome)
        if command.check is not None:
            yield from command.check(self._home)
        yield from self._repeat(command, usual, rows)

    def _half_done(
        self,
        command: KillCommand,
        usual: _Undisturbed,
        mode: Stop | str,
        rows: Rows | None,
        outcome: Outcome,
    ) -> Iterator[Finding]:
        from_before, to_after = difference(usual.before, rows), difference(rows, usual.after)
        if gone := lost(usual.before, rows, command.keeps):
            yield Finding("lost", gone)
        elif command.is_atomic and from_before and to_after:
            yield Finding("half done", from_before)
        if mode is Stop.DISK_FULL and outcome.code == 0 and to_after:
            yield Finding("silent failure", f"exit code 0, but {to_after}")

    def _repeat(
        self, command: KillCommand, usual: _Undisturbed, rows: Rows | None
    ) -> Iterator[Finding]:
        """Run the command again; the result must be that of an undisturbed run."""
        is_done = not difference(rows, usual.after) and self._has_outputs(command)
        if not (is_done and not command.can_repeat):
            if command.completion and not lost(usual.after, rows, command.keeps):
                again = run_refold(self._home, command.completion)
            else:
                again = command.run(self._home)
            yield from broken_rules(again)
            if again.code != 0 and command.ends_alike:
                yield Finding("can't be repeated", again.stderr.decode("utf-8", "replace"))
                return
        try:
            found = difference(usual.after, self._rows(command))
        except UnreadableWorkspaceError as error:
            yield Finding("workspace does not open", str(error))
            return
        if found and command.ends_alike:
            yield Finding("another result", found)
        yield from self._left_over(usual, "after the next command")
        yield from self._files_are_whole(command, usual)
        if command.check is not None:
            yield from command.check(self._home)

    def _has_outputs(self, command: KillCommand) -> bool:
        return all((self._home.folder / name).exists() for name in command.outputs)

    def _left_over(self, usual: _Undisturbed, when: str) -> Iterator[Finding]:
        known = {*usual.files_before, *usual.files_after}
        left = [
            name
            for name in self._files()
            if name not in known and not name.endswith(".wal") and "/cache/" not in name
        ]
        if left:
            yield Finding("file left", f"{when}: {', '.join(sorted(left))}")

    def _files_are_whole(self, command: KillCommand, usual: _Undisturbed) -> Iterator[Finding]:
        files = self._files()
        for name in command.outputs:
            whole = (usual.files_before.get(name), usual.files_after.get(name), None)
            if files.get(name) not in whole:
                yield Finding("half a file", f"{name}: {len(files[name])} bytes")

    def _rows(self, command: KillCommand) -> Rows | None:
        path = self._home.folder / WORKSPACE
        return read_rows(self._home, path, with_caches=not command.folds)

    def _files(self) -> dict[str, bytes]:
        """Return the files below the folder, with content only for those that are compared."""
        folder = self._home.folder
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.name.startswith("out") else b""
            for path in folder.rglob("*")
            if path.is_file()
        }
