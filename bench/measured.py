"""Running a part of the benchmark in a process of its own, for its time and its memory."""

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def apart(module: str, *arguments: object) -> dict[str, Any]:
    """What `python -m MODULE ARGUMENTS` prints as its last line, a JSON object."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def tell(**figures: object) -> None:
    """Say figures to `apart`, with the peak memory of this process in MB."""
    print(json.dumps({**figures, "memory": round(_peak())}))


def _peak() -> float:
    """Not `ru_maxrss` where there is better: that begins with the peak of who started the process."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
