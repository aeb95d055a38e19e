"""The generators always write the same bytes, in the documented form."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sample_logs import SAMPLES, generate
from sample_logs.__main__ import main

SIZES = {"orders": 3000, "accounts": 2000, "stock": 1500}
FIELDS = ["id", "time", "stream", "revision", "type", "version"]
FIELDS += ["correlation_id", "causation_id", "data", "meta"]
each = pytest.mark.parametrize("name", list(SAMPLES))


@cache
def parsed(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in SAMPLES[name].log.read_text().splitlines()]


@each
def test_committed_log_is_what_the_generator_writes(name: str) -> None:
    assert b"".join(generate(name, SIZES[name], seed=1)) == SAMPLES[name].log.read_bytes()
    command = f"python -m sample_logs {name} --events {SIZES[name]} --seed 1"
    assert command in (SAMPLES[name].log.parent / "README.md").read_text()


@each
def test_seed_and_size(name: str) -> None:
    first = b"".join(generate(name, 5000, seed=7))
    assert first == b"".join(generate(name, 5000, seed=7))
    assert first != b"".join(generate(name, 5000, seed=8))
    for size in (0, 1, 5, 99, 100, 101, 5000):
        log = b"".join(generate(name, size, seed=7))
        assert log.count(b"\n") == size
        assert log.endswith(b"\n") or not size


@each
def test_shape_of_lines(name: str) -> None:
    lines = SAMPLES[name].log.read_text().splitlines()
    seen: set[str] = set()
    for line, event in zip(lines, parsed(name), strict=True):
        assert list(event) == FIELDS
        assert line == json.dumps(event, separators=(",", ":"))
        assert re.fullmatch(r"2026-01-0\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert event["causation_id"] is None or event["causation_id"] in seen
        seen.add(event["id"])
    assert len(seen) == len(lines) - (name == "stock")


@each
def test_numbers_survive_a_double(name: str) -> None:
    def check(text: str) -> float:
        number = float(text)
        assert text == (str(int(number)) if number.is_integer() else repr(number))
        assert len(text.replace(".", "").lstrip("-")) <= 15
        return number

    for chunk in generate(name, 8_000, seed=3):
        for line in chunk.splitlines():
            json.loads(line, parse_int=check, parse_float=check)


@each
@pytest.mark.parametrize("size", [150, 8_000])
def test_revisions_are_dense_and_time_grows(name: str, size: int) -> None:
    log = [json.loads(line) for line in b"".join(generate(name, size, seed=2)).splitlines()]
    revisions: defaultdict[str, list[int]] = defaultdict(list)
    for event in log:
        revisions[event["stream"]].append(event["revision"])
    backwards = sum(b["time"] < a["time"] for a, b in pairwise(log))
    if name == "stock":  # one line too many, one too late
        assert sum(len(found) - len(set(found)) for found in revisions.values()) == 1
        assert sum(found != sorted(found) for found in revisions.values()) == 1
        assert backwards == 1
        revisions = defaultdict(list, {k: sorted(set(v)) for k, v in revisions.items()})
    else:
        assert backwards == 0
    assert all(found == list(range(len(found))) for found in revisions.values())


def test_orders_versions_change_over() -> None:
    versions = [e["version"] for e in parsed("orders") if e["type"] == "OrderPlaced"]
    first, last = versions.index(2), len(versions) - versions[::-1].index(1)
    assert len(versions) / 5 < first < last < len(versions) * 4 / 5


def test_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "log.jsonl"
    assert main(["stock", "--events", "1_500", "-o", str(target)]) == 0
    assert target.read_bytes() == SAMPLES["stock"].log.read_bytes()
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == list(SAMPLES)
    for wrong in (["orders"], ["orders", "--events", "-1"], ["nothing", "--events", "1"]):
        with pytest.raises(SystemExit):
            main(wrong)


def test_a_reader_may_stop_early() -> None:
    command = [sys.executable, "-m", "sample_logs", "orders", "--events", "20000"]
    root = SAMPLES["orders"].log.parents[2]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"id":"ev-0"')
        process.stdout.close()
        assert process.stderr.read() == b""
