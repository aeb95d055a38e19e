"""Runs the parts of the campaign in several processes, saves findings and prints the table."""

import math
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crash.finding import Finding, FindingFolder, KindTally, Tally, Try, TryResult


class Part(Protocol):
    """One part of the campaign. Each process gives it its own folder, and all give it the seed."""

    name: str

    def __init__(self, folder: Path, seed: int) -> None: ...

    @staticmethod
    def kinds(count: int) -> dict[str, int]:
        """Return how many tries of each kind make up `count` tries."""
        ...

    def run(self, kind: str, numbers: Sequence[int]) -> Iterator[tuple[int, TryResult]]:
        """Run the tries of one kind that have these numbers; yield each number with its result."""
        ...


@dataclass(frozen=True)
class Plan:
    """Which tries to run, and where."""

    seed: int
    jobs: int
    folder: Path
    """The folder in which tries run; removed at the end."""
    findings: Path
    tries: dict[type[Part], dict[str, Sequence[int]]]
    """The numbers of the tries by part and kind."""
    end: float = math.inf
    """The time of the monotonic clock after which no new try begins."""

    def tries_left(self, tally: Tally) -> int:
        """Return how many tries were not run."""
        planned = sum(len(numbers) for kinds in self.tries.values() for numbers in kinds.values())
        return planned - sum(kind.tries for kind in tally.kinds.values())


def spread(names: Sequence[str], count: int) -> dict[str, int]:
    """Return how many tries of each kind make up `count`; fewer tries than kinds leave some out."""
    if count >= len(names):
        return dict.fromkeys(names, round(count / len(names)))
    chosen = {names[n * len(names) // count] for n in range(count)}
    return {name: 1 for name in names if name in chosen}


def run(plan: Plan) -> Tally:
    """Run all tries of a plan, and return their tally.

    Raises SystemExit if a process of the campaign failed.
    """
    shutil.rmtree(plan.folder, ignore_errors=True)
    plan.folder.mkdir(parents=True)
    children = [_start(plan, job) for job in range(plan.jobs)]
    failed = [pid for pid in children if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0]
    tally = Tally()
    tally.merge(Tally.read(plan.folder / f"tally-{job}.json") for job in _jobs_with_tally(plan))
    shutil.rmtree(plan.folder, ignore_errors=True)
    if failed:
        raise SystemExit("A process of the campaign failed; its error is printed above.")
    return tally


def print_table(tally: Tally) -> None:
    """Print the tally of each kind and of each part as a table."""
    head = f"{'tries':>7} {'inputs':>8} {'found':>6} {'cpu s':>6} {'clock s':>8} {'MB':>6}  "
    print(f"{'part/kind':<28}{head}findings")
    parts: dict[str, KindTally] = {}
    for name, kind in sorted(tally.kinds.items()):
        print(_row(name, kind))
        parts.setdefault(name.partition("/")[0], KindTally()).merge(kind)
    print("-" * 80)
    for name, kind in parts.items():
        print(_row(name, kind))
    found = sum(kind.with_findings for kind in parts.values())
    print(f"{found} tries with findings, {tally.seconds:,.0f} s")


def _row(name: str, kind: KindTally) -> str:
    faults = ", ".join(f"{fault} {count}" for fault, count in kind.faults.most_common())
    figures = f"{kind.tries:>7,} {kind.inputs:>8,} {kind.with_findings:>6,}"
    worst = f"{kind.worst_processor_seconds:>6.1f} {kind.worst_seconds:>8.1f} {kind.worst_memory_mb:>6,.0f}"
    return f"{name:<28}{figures} {worst}  {faults}"


def _start(plan: Plan, job: int) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _make_share(plan, job)
        code = 0
    except KeyboardInterrupt:
        code = 130
    finally:
        sys.stdout.flush()
        if code == 1:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _make_share(plan: Plan, job: int) -> None:
    """Run every n-th try of each kind, where n is the number of processes."""
    tally, kept = Tally(), FindingFolder(plan.findings, plan.seed)
    for part, kinds in plan.tries.items():
        made = part(plan.folder / f"{part.name}-{job}", plan.seed)
        for ordinal, (kind, numbers) in enumerate(kinds.items()):
            started = time.monotonic()
            share = numbers[(job + ordinal) % plan.jobs :: plan.jobs]
            if not share or started > plan.end:
                continue
            for number, result in _results(made, kind, share):
                wanted = Try(part.name, kind, number)
                tally.add(str(wanted), result)
                kept.keep(wanted, result)
                if time.monotonic() > plan.end:
                    break
            _print_progress(part.name, kind, len(share), time.monotonic() - started)
            tally.write(plan.folder / f"tally-{job}.json")


def _results(part: Part, kind: str, numbers: Sequence[int]) -> Iterator[tuple[int, TryResult]]:
    """Yield the results of tries; an error of the campaign's own code is a finding too."""
    number = numbers[0]
    try:
        for number, result in part.run(kind, numbers):
            yield number, result
    except (RuntimeError, OSError, ValueError, LookupError, AttributeError, ImportError):
        text = traceback.format_exc()
        print(text, file=sys.stderr)
        yield number, TryResult([Finding("campaign fails", text[-1_500:])], 0.0, 0.0)


def _print_progress(part: str, kind: str, tries: int, seconds: float) -> None:
    print(f"  {part}/{kind}: {tries:,} tries in {seconds:,.0f} s", file=sys.stderr, flush=True)


def _jobs_with_tally(plan: Plan) -> Iterator[int]:
    return (job for job in range(plan.jobs) if (plan.folder / f"tally-{job}.json").exists())
