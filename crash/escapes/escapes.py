"""The part `escapes`: hostile code runs in the sandbox, and canaries detect if it gets out."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from crash import sample
from crash.command import Home, Outcome, run_refold
from crash.escapes import attacks
from crash.escapes.canaries import Canaries, remove_sockets
from crash.escapes.terminal import Terminal
from crash.escapes.variants import (
    READS_KEYS,
    VARIANTS,
    WORKSPACE,
    Hostile,
    write_hostile,
    write_hostile_query,
)
from crash.finding import Finding, TryResult
from crash.output_rules import broken_rules

_T = TypeVar("_T")
_GOLDEN = 0.6180339887498949
_ALLOWED_MB = 900.0
"""The memory limit of a worker of 300 MB, its launcher and refold together, in MB."""
_SECRETS = (b"precious", b"secret", b"CREATE TABLE")
"""Bytes in the output of a SQL projection that show that it read foreign data."""
_DEBUGGER_KEYS = b"c\nc\nc\n"


class Escapes:
    """The part of the campaign that runs attacks."""

    name = "escapes"

    def __init__(self, folder: Path, seed: int) -> None:
        self._home = Home(folder / "work")
        self._seed = seed

    @staticmethod
    def kinds(count: int) -> dict[str, int]:
        """Return how many tries of each kind make up `count`, in proportion to its attacks."""
        sizes = {name: len(found) for name, found in attacks.BY_KIND.items()}
        sizes["sql"] = len(attacks.SQL)
        total = sum(sizes.values())
        return {name: math.ceil(count * size / total) for name, size in sizes.items()}

    def run(self, kind: str, numbers: Sequence[int]) -> Iterator[tuple[int, TryResult]]:
        """Yield the results of tries of one kind."""
        self._prepare()
        for number in numbers:
            yield number, self._attempt(kind, number)
        remove_sockets()

    def _prepare(self) -> None:
        folder = self._home.folder
        if (folder / WORKSPACE).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        sample.write_log(folder / "log.jsonl", 6)
        packed = [{**event, "data": "eyJhIjogMX0="} for event in sample.events(4)]
        (folder / "packed.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in packed))
        outcome = run_refold(self._home, ["load", "log.jsonl", "-o", WORKSPACE])
        if outcome.code != 0:
            raise RuntimeError(f"The campaign can't load its log: {outcome.stderr!r}")
        shutil.copy(folder / WORKSPACE, folder / "fresh.refold")

    def _attempt(self, kind: str, number: int) -> TryResult:
        folder = self._home.folder
        (folder / "d.refold").unlink(missing_ok=True)
        shutil.copy(folder / "fresh.refold", folder / WORKSPACE)
        started = time.monotonic()
        with Canaries(folder) as canaries:
            if kind == "sql":
                name = _pick(list(attacks.SQL), number)
                hostile = write_hostile_query(folder, attacks.SQL[name], canaries.targets())
                outcomes = [run_refold(self._home, one) for one in hostile.commands]
                findings = [*_of_query(outcomes)]
            else:
                found = attacks.BY_KIND[kind]
                pairs = [(attack, variant) for variant in VARIANTS for attack in found]
                attack, variant = _pick(pairs, number)
                name = f"{attack} in {variant}"
                outcomes, findings = self._run_hostile(found[attack], variant, canaries)
            findings += [f for outcome in outcomes for f in broken_rules(outcome)]
            findings += canaries.alarms()
        memory = max(outcome.memory_mb for outcome in outcomes)
        if kind == "memory" and memory > _ALLOWED_MB:
            findings.append(Finding("memory limit passed", f"{memory:,.0f} MB"))
        named = [Finding(f.fault, f"{name}: {f.detail}") for f in findings]
        used = max(outcome.processor_seconds for outcome in outcomes)
        return TryResult(named, time.monotonic() - started, memory, processor_seconds=used)

    def _run_hostile(
        self, attack: str, variant: str, canaries: Canaries
    ) -> tuple[list[Outcome], list[Finding]]:
        """Run a hostile file in its own terminal."""
        typed = _DEBUGGER_KEYS if variant in READS_KEYS else b"typed ahead\n"
        with Terminal(typed) as terminal:
            targets = {**canaries.targets(), "tty": terminal.name}
            hostile = write_hostile(self._home.folder, attack, variant, targets)
            outcomes = [self._run_on(terminal, hostile, one) for one in hostile.commands]
            findings = [*terminal.alarms(reads_keys=variant in READS_KEYS)]
        return outcomes, findings

    def _run_on(self, terminal: Terminal, hostile: Hostile, arguments: Sequence[str]) -> Outcome:
        before = terminal.attach if hostile.is_on_terminal else terminal.control
        watch = terminal.drain if hostile.is_on_terminal else None
        return run_refold(self._home, arguments, before=before, watch=watch)


def _of_query(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        if outcome.code == 0 and any(secret in outcome.stdout for secret in _SECRETS):
            yield Finding("reads what is not its own", repr(outcome.stdout[:300]))


def _pick(found: Sequence[_T], number: int) -> _T:
    """Return one item; consecutive numbers give items far apart, to cover them with few tries."""
    if number >= len(found):
        return found[number % len(found)]
    return found[int(number * _GOLDEN % 1 * len(found))]
