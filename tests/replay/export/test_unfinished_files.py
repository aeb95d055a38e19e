"""An export that can't be written to its end leaves no file, whole or unfinished."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fork_bench import Bench

ROOT = Path(__file__).parents[3]
_MOST_BYTES = 64
"""The size of a file at which the system refuses to write more, like a full disk does."""


@pytest.mark.parametrize(
    "command",
    [
        ("fork-export", "log.refold", "f", "out.json"),
        ("export", "log.refold", "out.jsonl", "--timeline", "f"),
        ("export", "log.refold", "out.parquet", "--timeline", "f"),
        ("calls-export", "log.refold", "out.har"),
        ("calls-export", "log.refold", "out.jsonl"),
    ],
    ids=" ".join,
)
def test_export_that_fails_leaves_no_file(bench: Bench, command: tuple[str, ...]) -> None:
    bench.fork("f", lambda made: made.drop(2))
    bench.workspace.release()
    call = {"event_id": "e1", "port": "p", "operation": "o", "request": "x" * 99, "response": 1}
    (bench.folder / "calls.jsonl").write_text(json.dumps(call) + "\n")
    assert run(bench.folder, "calls-import", "log.refold", "calls.jsonl").returncode == 0
    before = {path.name for path in bench.folder.iterdir()}
    failed = run(bench.folder, *command, most_bytes=_MOST_BYTES)
    assert failed.returncode in (1, 2), failed.stderr
    assert "Traceback" not in failed.stderr
    assert {path.name for path in bench.folder.iterdir()} == before


def run(
    folder: Path, *arguments: str, most_bytes: int | None = None
) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.run(
        [sys.executable, "-m", "tui.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
