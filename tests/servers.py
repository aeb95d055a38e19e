"""Servers that tests start for themselves, in a folder, reachable by nobody else."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

POSTGRES = shutil.which("postgres") or next(
    (str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None
)
needs_postgres = pytest.mark.skipif(POSTGRES is None, reason="PostgreSQL is not installed")


@contextmanager
def postgres(outer: Path) -> Iterator[str]:
    """The link to a PostgreSQL on a socket in a folder."""
    import psycopg

    assert POSTGRES is not None
    folder = outer / "pg"
    bin_ = Path(os.path.realpath(POSTGRES)).parent
    run: dict[str, Any] = {}
    folder.mkdir()
    if os.getuid() == 0:  # it refuses to be root
        for place in (outer, *outer.parents[:3]):
            place.chmod(place.stat().st_mode | 0o011)
        run = {"user": "nobody"}
        shutil.chown(folder, "nobody")
    made = [bin_ / "initdb", "-D", folder / "data", "-A", "trust", "-U", "refold", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder, **run)
    server = subprocess.Popen(
        [POSTGRES, "-D", folder / "data", "-k", str(folder), "-h", ""],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **run,
    )
    url = f"postgresql://refold@/postgres?host={folder}"
    deadline = time.monotonic() + 30
    try:
        while True:
            try:
                psycopg.connect(url).close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
