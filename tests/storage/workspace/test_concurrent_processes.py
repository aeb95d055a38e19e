"""Several processes with one workspace: waiting for locks, messages about them, and killed processes."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.errors import WorkspaceBusyError
from storage.workspace.workspace_file import WorkspaceFile

HOLD = """
import sys, time
from pathlib import Path
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
workspace = WorkspaceFile(Path(sys.argv[1]))
with getattr(workspace, sys.argv[2])() as connection:
    connection.execute("SELECT count(*) FROM events").fetchall()
    print("holding", flush=True)
    time.sleep(float(sys.argv[3]))
"""
LOAD = """
import sys
from pathlib import Path
from storage.ingest.loader import load_source
print("begun", flush=True)
print(load_source([sys.argv[1]], Path(sys.argv[2])).appended)
"""


@contextmanager
def another(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the script failed before its first line"
            yield process
        finally:
            process.kill()


@pytest.fixture
def kept(desk: Any) -> Path:
    desk.load(desk.write(desk.text(desk.event(1))))
    path: Path = desk.target
    return path


def test_readers_share(desk: Any, kept: Path) -> None:
    with another(HOLD, kept, "reading", 30):
        assert len(desk.open(wait_seconds=0).get_metadata("mapping")["fields"]) == 5


@pytest.mark.parametrize(("they", "we"), [("reading", "writing"), ("writing", "reading")])
def test_busy_error_names_the_process_that_holds_the_lock(kept: Path, they: str, we: str) -> None:
    waited_for: list[str] = []
    workspace = WorkspaceFile(kept, wait_seconds=0.3, on_wait=waited_for.append)
    workspace.release()
    with another(HOLD, kept, they, 30) as process:
        message = rf"still in use by .*process {process.pid}\) after 0\.3 s.*--wait"
        with pytest.raises(WorkspaceBusyError, match=message), getattr(workspace, we)():
            pass
    assert len(waited_for) == 1


def test_waiting_ends_with_the_lock(desk: Any, kept: Path) -> None:
    workspace = desk.open()
    workspace.release()
    with another(HOLD, kept, "writing", 0.4), workspace.writing() as connection:
        connection.execute("DELETE FROM events")
    assert desk.column("id") == []


def test_reader_releases_the_file_between_reads(desk: Any, kept: Path) -> None:
    """A screen that keeps reading must not keep writers out."""
    workspace = desk.open()
    workspace.get_metadata("mapping")
    workspace.release()
    desk.grow(desk.folder / "log.jsonl", desk.text(desk.event(2)))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, desk.folder / "log.jsonl", kept],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.split() == ["begun", "1"]
    assert len(desk.column("id")) == 2


def test_two_loads_at_once_append_once(desk: Any, kept: Path) -> None:
    desk.grow(desk.folder / "log.jsonl", desk.text(*[desk.event(n) for n in range(2, 30_000)]))
    command = [sys.executable, "-c", LOAD, str(desk.folder / "log.jsonl"), str(kept)]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].split()[1] for process in pair)
    assert said == ["0", "29998"]
    assert desk.ask(
        'SELECT count(*), count(DISTINCT "offset"), count(DISTINCT id) FROM events'
    ) == [(29_999, 29_999, 29_999)]


def killed_somewhere(source: Path, target: Path, delay: float) -> bool:
    """Start a load and kill it after a while; return whether it was still running."""
    with another(LOAD, source, target) as process:
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def test_killed_load_leaves_no_partial_workspace(desk: Any) -> None:
    count = 40_000
    source = desk.write(desk.text(*[desk.event(number) for number in range(count)]))
    chance = random.Random(7)
    killed = 0
    for _ in range(5):
        killed += killed_somewhere(source, desk.target, chance.uniform(0, 0.3))
        if desk.target.exists():
            assert desk.ask("SELECT count(*) FROM events") == [(count,)]
            desk.target.unlink()
    assert killed > 1
    assert desk.load(source).appended == count
    assert desk.leftovers() == []


def test_killed_replacement_keeps_the_old_workspace(desk: Any, kept: Path) -> None:
    source = desk.write(desk.text(*[desk.event(number) for number in range(40_000)]), "new.jsonl")
    script = LOAD.replace("Path(sys.argv[2])", "Path(sys.argv[2]), LoadOptions(replace=True)")
    script = script.replace("import load_source", "import LoadOptions, load_source")
    for delay in (0.05, 0.15, 0.25):
        with another(script, source, kept) as process:
            time.sleep(delay)
            process.kill()
            process.wait()
        assert desk.ask("SELECT count(*) FROM events")[0][0] in (1, 40_000)
    desk.load(source, replace=True)
    assert desk.leftovers() == []


def test_killed_appends_append_all_or_nothing(desk: Any) -> None:
    size = 15_000
    source = desk.write(desk.text(desk.event(0)))
    desk.load(source)
    chance = random.Random(11)
    there = 1
    for step in range(4):
        desk.grow(source, desk.text(*[desk.event(step * size + n + 1) for n in range(size)]))
        killed_somewhere(source, desk.target, chance.uniform(0, 0.25))
        found = desk.ask("SELECT count(*) FROM events")[0][0]
        assert found in (there, step * size + 1 + size)
        there = found
    desk.load(source)
    assert desk.column("id") == [f"e{number}" for number in range(4 * size + 1)]
    assert desk.ask("SELECT sum(events), max(lines) FROM sources") == [(4 * size + 1,) * 2]


@pytest.mark.parametrize("append", [False, True])
def test_interrupted_load_changes_nothing(desk: Any, append: bool) -> None:
    source = desk.write(desk.text(desk.event(0)))
    if append:
        desk.load(source)
    desk.grow(source, desk.text(*[desk.event(1)]) * 1_000_000)
    command = [sys.executable, "-c", "import tui.cli; tui.cli.main()"]
    process = subprocess.Popen(
        [*command, "load", str(source), "-o", str(desk.target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - asked < 5
    assert (process.returncode, out) == (4, ""), err
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert desk.target.exists() == append
    if append:
        assert desk.column("id") == ["e0"]
    assert desk.leftovers() == []
