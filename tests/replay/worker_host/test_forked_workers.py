"""Forked workers, which stand in for started ones in most tests, give what those give."""

import subprocess
import sys
from typing import Any

import pytest

from tests.support import forked_workers
from tests.support.fork_server import ForkServer
from tests.support.projection_kinds import KINDS, Kind
from tests.support.projection_studio import Studio

FORKED = "it was forked for a test"
LINGERING = """
    import random, sys, time
    folds = getattr(sys, "folds", 0) + 1
    sys.folds, sys.path[1:1] = folds, ["/nowhere"]
    time.time = random.random = lambda: 5
    def apply(state, event):
        state["folds"], state["paths"] = folds, sys.path.count("/nowhere")
"""


@pytest.fixture
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork workers, also with `--real-workers`."""
    monkeypatch.setattr(forked_workers, "is_forking", True)


def test_a_fold_in_this_interpreter_is_forked(studio: Studio, forking: None):
    studio.events(("a", "T", {}))
    studio.file("p.py", "def apply(state, event): pass\n")
    assert FORKED in studio.fold().isolation


@pytest.mark.real_worker
def test_no_worker_is_forked_for_a_test_of_its_process(studio: Studio):
    studio.events(("a", "T", {}))
    studio.file("p.py", "def apply(state, event): pass\n")
    assert FORKED not in studio.fold().isolation


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_a_forked_worker_gives_the_history_of_a_started_one(
    studio: Studio, kind: Kind, forking: None, monkeypatch: pytest.MonkeyPatch
):
    types = ("Added", "Dropped", "Failed", "Unknown")
    studio.events(*[("abc"[n % 3], types[n * n % 4], {"by": n}) for n in range(24)])
    reference = kind.write(studio)

    def results() -> list[Any]:
        folded = studio.fold(reference, force=True)
        failures = [(f.offset, f.key, f.traceback) for f in studio.failures(folded)]
        return [studio.changes(folded), failures, folded.code_hash]

    forked = results()
    monkeypatch.setattr(forked_workers, "is_forking", False)
    assert results() == forked


def test_nothing_of_one_fold_reaches_the_next_or_the_test(studio: Studio, forking: None):
    studio.events(("a", "T", {}))
    studio.file("p.py", LINGERING)
    for _ in range(2):
        assert studio.changes(studio.fold(force=True)) == [(0, "a", {"folds": 1, "paths": 1})]
    assert not hasattr(sys, "folds")
    assert "/nowhere" not in sys.path


def test_a_forked_process_behaves_as_one_of_subprocess():
    server = ForkServer("def run(arguments):\n    exec(arguments[0])\n", {})
    echo = "import os, sys; print(sys.stdin.read(), os.getcwd(), os.environ['A']); sys.exit(3)"
    process = server.start(
        [echo],
        env={"A": "b"},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.poll() is None
    process.stdin.write("text")
    process.stdin.close()
    assert process.stdout.read() == "text / b\n"
    assert process.wait(timeout=60) == 3
    process = server.start(["import time; time.sleep(600)"], env={})
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.01)
    process.kill()
    assert process.wait(timeout=60) == -9
