"""Runs a part of the benchmark in its own process, to measure its time and its memory."""

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_in_process(module: str, *arguments: object) -> dict[str, Any]:
    """Run `python -m MODULE ARGUMENTS`, and return the JSON object in its last line."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def print_figures(**figures: object) -> None:
    """Print figures for `run_in_process`, with the peak memory of this process in MB."""
    print(json.dumps({**figures, "memory": round(_peak())}))


def _peak() -> float:
    """Return the peak memory in MB.

    It comes from `/proc` if possible, because `ru_maxrss` starts with the peak of the parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(work: Callable[[], object]) -> float:
    """Return how many seconds the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
