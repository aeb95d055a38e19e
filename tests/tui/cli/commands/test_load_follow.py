"""`refold load --follow` appends new events, and retries a source that it can't read."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.workspace.workspace_file import WorkspaceFile

MAIN = "from tui.cli import main; main()"


def grow(path, first, count):
    with path.open("a") as stream:
        for n in range(first, first + count):
            stream.write(json.dumps({"id": f"e{n}", "stream": "s", "type": "T", "data": {}}) + "\n")


def events(path):
    workspace = WorkspaceFile(path, wait_seconds=5)
    with workspace.reading() as connection:
        found = [
            row[0]
            for row in connection.execute('SELECT id FROM events ORDER BY "offset"').fetchall()
        ]
    workspace.close()
    return found


def until(path, count):
    deadline = time.monotonic() + 30
    while len(found := events(path)) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


@pytest.fixture
def follow(tmp_path: Path):
    """Starts `refold load log.jsonl --follow`."""
    grow(tmp_path / "log.jsonl", 0, 3)
    started = []

    def start(*more):
        command = [sys.executable, "-c", MAIN, "load", "log.jsonl", "--follow", *more]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        deadline = time.monotonic() + 30
        while not (tmp_path / "log.refold").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_new_events_are_appended_until_ctrl_c(tmp_path: Path, follow):
    process = follow()
    log, kept = tmp_path / "log.jsonl", tmp_path / "log.refold"
    grow(log, 3, 2)
    assert until(kept, 5) == [f"e{n}" for n in range(5)]
    away = log.rename(tmp_path / "away.jsonl")
    time.sleep(1.5)
    away.rename(log)
    grow(log, 5, 4)
    assert until(kept, 9) == [f"e{n}" for n in range(9)]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "2 new events, 5 in all" in said
    assert "Retrying." in said
    assert events(kept) == [f"e{n}" for n in range(9)]


def test_following_ends_with_its_parent_process(follow):
    process = follow("--beside", str(os.getpid() + 1))
    assert process.wait(timeout=20) == 0


def test_a_kill_loses_no_event_and_appends_none_twice(tmp_path: Path, follow):
    log, kept = tmp_path / "log.jsonl", tmp_path / "log.refold"
    for turn in range(3):
        process = follow()
        grow(log, 3 + 50 * turn, 50)
        time.sleep(0.9 + 0.2 * turn)
        process.kill()
        process.wait()
    process = follow()
    assert until(kept, 153) == [f"e{n}" for n in range(153)]
