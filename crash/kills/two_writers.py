"""Commands that write the same workspace, or the same file of the user, at the same time."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crash import sample
from crash.command import Home, Outcome, run_function, run_refold
from crash.finding import Finding, TryResult
from crash.output_rules import broken_rules

_WORKSPACE = "w.refold"
_WRITERS = 10
_EVENTS = 120
_LIMIT_SECONDS = 60.0
"""The limit of a command; long, because ten commands wait for one another."""


Command = Sequence[str] | Callable[[], int]
"""The arguments of a command, or a function that commands call."""


@dataclass(frozen=True)
class Race:
    """Commands that run at the same time, and what must hold when all have ended."""

    commands: Callable[[int], Sequence[Command]]
    """Returns the commands of a try for its number."""
    check: Callable[[Home, Sequence[Outcome]], Iterator[Finding]]
    needs_workspace: bool = True


class TwoWriters:
    """Runs the tries of races."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._template = folder / "template"
        self._home = Home(folder / "work")
        self._seed = seed

    def run(self, kind: str, number: int) -> TryResult:
        """Run the commands of a race at the same time, and check the result."""
        race = RACES[kind]
        self._restore(race)
        started = time.monotonic()
        outcomes = _run_at_once(self._home, race.commands(number + self._seed))
        findings = [finding for outcome in outcomes for finding in broken_rules(outcome)]
        findings += race.check(self._home, outcomes)
        memory = max(outcome.memory_mb for outcome in outcomes)
        used = max(outcome.processor_seconds for outcome in outcomes)
        seconds = time.monotonic() - started
        return TryResult(findings, seconds, memory, processor_seconds=used)

    def _restore(self, race: Race) -> None:
        if not self._template.exists():
            self._prepare()
        shutil.rmtree(self._home.folder, ignore_errors=True)
        shutil.copytree(self._template, self._home.folder)
        if not race.needs_workspace:
            (self._home.folder / _WORKSPACE).unlink()
            shutil.rmtree(self._home.folder / "home", ignore_errors=True)

    def _prepare(self) -> None:
        folder = self._home.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        sample.write_log(folder / "log.jsonl", _EVENTS)
        (folder / "orders.py").write_text(sample.PROJECTION)
        for arguments in (
            ["load", "log.jsonl", "-o", _WORKSPACE],
            ["fork", _WORKSPACE, "f", "--drop", "100"],
            ["replay", _WORKSPACE, "-p", "orders.py"],
        ):
            outcome = run_refold(self._home, arguments, limit_seconds=60)
            if outcome.code != 0:
                raise RuntimeError(f"{arguments} fails: {outcome.stderr!r}")
        shutil.copytree(folder, self._template)


def _run_at_once(home: Home, commands: Sequence[Command]) -> list[Outcome]:
    """Run commands at the same time, each with its own watching process."""
    readers = []
    for command in commands:
        reading, writing = os.pipe()
        sys.stdout.flush()
        if os.fork() == 0:
            os.close(reading)
            outcome = _run(home, command)
            fields = {**vars(outcome), "arguments": list(outcome.arguments)}
            fields |= {
                name: fields[name].decode("utf-8", "replace") for name in ("stdout", "stderr")
            }
            with os.fdopen(writing, "w") as stream:
                json.dump(fields, stream)
            os._exit(0)
        os.close(writing)
        readers.append(reading)
    outcomes = []
    for reading in readers:
        with os.fdopen(reading) as stream:
            fields = json.load(stream)
        fields |= {name: fields[name].encode() for name in ("stdout", "stderr")}
        outcomes.append(Outcome(**fields))
        os.wait()
    return outcomes


def _run(home: Home, command: Command) -> Outcome:
    if callable(command):
        return run_function(home, command, label=["function"], limit_seconds=_LIMIT_SECONDS)
    return run_refold(home, command, limit_seconds=_LIMIT_SECONDS)


def _timelines(home: Home) -> dict[str, dict[str, object]]:
    outcome = run_refold(home, ["timelines", _WORKSPACE, "--json"])
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    return {str(line["timeline"]): line for line in lines}


def _dropped(home: Home, timeline: str) -> int:
    """Return how many events of the log a timeline lacks."""
    outcome = run_refold(home, ["events", _WORKSPACE, "--timeline", timeline, "--json"])
    return _EVENTS - len(outcome.stdout.splitlines())


def _edits(number: int) -> list[list[str]]:
    first = number % 50
    return [["edit", _WORKSPACE, "f", "--drop", str(first + n)] for n in range(_WRITERS)]


def _all_edits_are_kept(home: Home, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    done = sum(outcome.code == 0 for outcome in outcomes)
    kept = _dropped(home, "f") - 1
    if done != kept or done < _WRITERS:
        yield Finding("lost", f"{done} of {_WRITERS} edits ended with 0, {kept} are kept")


def _forks_of_one_name(number: int) -> list[list[str]]:
    first = number % 50
    return [["fork", _WORKSPACE, "same", "--drop", str(first + n)] for n in range(_WRITERS)]


def _one_fork_is_made(home: Home, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    made = [outcome for outcome in outcomes if outcome.code == 0]
    if len(made) != 1:
        yield Finding("lost", f"{len(made)} of {_WRITERS} forks of one name ended with 0")
    elif _dropped(home, "same") != 1:
        yield Finding("lost", f"the fork lacks {_dropped(home, 'same')} events")


def _forks(number: int) -> list[list[str]]:
    first = number % 50
    return [["fork", _WORKSPACE, f"f{n}", "--drop", str(first + n)] for n in range(_WRITERS)]


def _all_forks_are_made(home: Home, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    names = _timelines(home)
    missing = [n for n, outcome in enumerate(outcomes) if outcome.code != 0 or f"f{n}" not in names]
    if missing:
        yield Finding("lost", f"{len(missing)} of {_WRITERS} forks of different names are missing")


def _remove_and_replay(number: int) -> list[list[str]]:
    stream = f"order-{number % 12}"
    return [
        ["remove", _WORKSPACE, "--stream", stream, "--yes"],
        ["replay", _WORKSPACE, "-p", "orders.py", "--force"],
        ["replay", _WORKSPACE, "-p", "orders.py", "--timeline", "f"],
        ["state", _WORKSPACE, "-p", "orders.py", "--json"],
        ["edit", _WORKSPACE, "f", "--set", "3", "qty", "9"],
    ]


def _all_end_well(home: Home, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        if outcome.code not in (0, 2):
            message = outcome.stderr.decode("utf-8", "replace")
            yield Finding(
                "writer fails", f"{' '.join(outcome.arguments)}: {outcome.code}: {message}"
            )
    opened = run_refold(home, ["replay", _WORKSPACE, "-p", "orders.py", "--json"])
    yield from broken_rules(opened)
    if opened.code != 0:
        yield Finding("workspace does not open", opened.stderr.decode("utf-8", "replace"))


def _first_starts(number: int) -> list[list[str]]:
    del number
    redact = ("--redact", "data.email")
    return [["load", "log.jsonl", "-o", f"w{n}.refold", *redact] for n in range(_WRITERS)]


def _one_key_is_used(home: Home, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    del outcomes
    found = set()
    for n in range(_WRITERS):
        query = "SELECT min(data->>'$.email') AS email FROM events"
        outcome = run_refold(home, ["sql", f"w{n}.refold", query, "--json"])
        found.add(outcome.stdout)
    if len(found) != 1:
        yield Finding("several keys", f"{len(found)} hashes of one value in {_WRITERS} workspaces")


def _keys(number: int) -> list[Callable[[], int]]:
    """Read the redaction key in many processes at the same time."""
    del number
    start = time.monotonic() + 0.3

    def ask() -> int:
        from storage.ingest.io.keyed_hash import load_or_create_key

        while time.monotonic() < start:
            pass
        print(hashlib.sha256(load_or_create_key()).hexdigest())
        return 0

    return [ask] * _WRITERS


def _all_get_one_key(home: Home, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    del home
    found = {outcome.stdout for outcome in outcomes}
    if len(found) != 1:
        yield Finding("several keys", f"{len(found)} keys in {_WRITERS} processes")


def _loads_of_one_log(number: int) -> list[list[str]]:
    del number
    return [["load", "log.jsonl", "-o", _WORKSPACE] for _ in range(4)]


def _log_is_loaded_once(home: Home, outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    outcome = run_refold(home, ["events", _WORKSPACE, "--json"])
    events = len(outcome.stdout.splitlines())
    if events != _EVENTS:
        codes = [one.code for one in outcomes]
        yield Finding("lost", f"{events} events instead of {_EVENTS}, exit codes {codes}")


RACES = {
    "edits-at-once": Race(_edits, _all_edits_are_kept),
    "forks-of-one-name": Race(_forks_of_one_name, _one_fork_is_made),
    "forks-at-once": Race(_forks, _all_forks_are_made),
    "remove-and-replay": Race(_remove_and_replay, _all_end_well),
    "first-starts": Race(_first_starts, _one_key_is_used, needs_workspace=False),
    "keys-at-once": Race(_keys, _all_get_one_key, needs_workspace=False),
    "loads-at-once": Race(_loads_of_one_log, _log_is_loaded_once, needs_workspace=False),
}
