"""Findings of tries, their tally, and the folder that keeps them."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One rule that a try broke."""

    fault: str
    """A short name, the same for equal faults, such as `hang` or `lost events`."""
    detail: str


@dataclass(frozen=True)
class TryResult:
    """The findings of one try, and what it used."""

    findings: Sequence[Finding]
    seconds: float
    """Seconds of the clock."""
    memory_mb: float
    """The peak memory of its processes."""
    inputs: int = 1
    """How many inputs the try covers: a file of fifty mutated records counts fifty."""
    processor_seconds: float = 0.0
    """Processor time of its slowest command."""


@dataclass(frozen=True)
class Try:
    """The name of one try; the same name and seed repeat it exactly."""

    part: str
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.part}/{self.kind}"


@dataclass
class KindTally:
    """The tally of all tries of one kind."""

    tries: int = 0
    inputs: int = 0
    with_findings: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    worst_seconds: float = 0.0
    worst_processor_seconds: float = 0.0
    worst_memory_mb: float = 0.0

    def add(self, result: TryResult) -> None:
        """Count one try."""
        self.tries += 1
        self.inputs += result.inputs
        self.with_findings += bool(result.findings)
        self.faults.update({finding.fault for finding in result.findings})
        self.worst_seconds = max(self.worst_seconds, result.seconds)
        self.worst_processor_seconds = max(self.worst_processor_seconds, result.processor_seconds)
        self.worst_memory_mb = max(self.worst_memory_mb, result.memory_mb)

    def merge(self, other: "KindTally") -> None:
        """Add the tally of tries that ran in another process."""
        self.tries += other.tries
        self.inputs += other.inputs
        self.with_findings += other.with_findings
        self.faults.update(other.faults)
        self.worst_seconds = max(self.worst_seconds, other.worst_seconds)
        self.worst_processor_seconds = max(
            self.worst_processor_seconds, other.worst_processor_seconds
        )
        self.worst_memory_mb = max(self.worst_memory_mb, other.worst_memory_mb)


_TALLIES = "tallies"
"""The folder of the tallies of runs, inside that of the findings."""


class Tally:
    """The tallies of all tries, by part and kind."""

    def __init__(self) -> None:
        self.kinds: dict[str, KindTally] = {}
        self.seconds = 0.0
        """Seconds of the clock of the runs."""

    def add(self, name: str, result: TryResult) -> None:
        """Count one try of the kind `part/kind`."""
        self.kinds.setdefault(name, KindTally()).add(result)

    def merge(self, others: Iterable["Tally"]) -> None:
        """Add the tallies of other processes."""
        for other in others:
            self.seconds += other.seconds
            for name, tally in other.kinds.items():
                self.kinds.setdefault(name, KindTally()).merge(tally)

    def write(self, path: Path) -> None:
        """Write the tally as JSON, for the process that adds them up."""
        kinds = {n: {**vars(t), "faults": dict(t.faults)} for n, t in self.kinds.items()}
        path.write_text(json.dumps({"seconds": round(self.seconds), "kinds": kinds}, indent=1))

    def keep(self, findings: Path, name: str) -> None:
        """Keep the tally of a run in the folder of findings, for `read_all`."""
        folder = findings / _TALLIES
        folder.mkdir(parents=True, exist_ok=True)
        self.write(folder / f"{name}.json")

    @classmethod
    def read_all(cls, findings: Path) -> "Tally":
        """Return the sum of the runs that keep their findings in a folder."""
        found = cls()
        found.merge(cls.read(path) for path in sorted((findings / _TALLIES).glob("*.json")))
        return found

    @classmethod
    def read(cls, path: Path) -> "Tally":
        """Return the tally that `write` wrote."""
        found = cls()
        content = json.loads(path.read_text())
        found.seconds = content["seconds"]
        for name, values in content["kinds"].items():
            faults: Counter[str] = Counter(values.pop("faults"))
            found.kinds[name] = KindTally(**values, faults=faults)
        return found


class FindingFolder:
    """The folder of findings, one JSON file per try."""

    _MOST_OF_A_KIND = 20

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._kept: Counter[str] = Counter()

    def keep(self, wanted: Try, result: TryResult) -> None:
        """Save the findings of a try, with the command that repeats it."""
        fresh = [f for f in result.findings if self._is_wanted(wanted, f)]
        if not fresh:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{wanted.part}-{wanted.kind}-{self._seed}-{wanted.number}".replace("/", "_")
        repeat = f"python -m crash --only {wanted} --seed {self._seed} --try {wanted.number}"
        content: dict[str, Any] = {
            "repeat": repeat,
            "seconds": round(result.seconds, 2),
            "processor_seconds": round(result.processor_seconds, 2),
            "memory_mb": round(result.memory_mb),
            "findings": [dataclasses.asdict(finding) for finding in fresh],
        }
        (self._folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")

    def _is_wanted(self, wanted: Try, finding: Finding) -> bool:
        """Count a finding; return False after 20 of one fault, because people read no more."""
        fault = f"{wanted} {finding.fault}"
        self._kept[fault] += 1
        return self._kept[fault] <= self._MOST_OF_A_KIND
