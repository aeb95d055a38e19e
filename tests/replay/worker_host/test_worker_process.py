"""The worker process: isolated, sandboxed, and its death loses nothing that was folded."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.errors import CancelledError, ProjectionError
from tests.support.projection_studio import Studio

pytestmark = pytest.mark.worker_contract

ROOT = Path(__file__).parents[3]
COUNT = "def apply(state, event): state['n'] = state.get('n', 0) + 1\n"


def some(count: int, kind: str = "T") -> list[tuple[str, str, dict[str, int]]]:
    return [("abc"[n % 3], kind, {"n": n}) for n in range(count)]


def test_the_users_modules_win_over_refolds_of_the_same_name(studio: Studio):
    studio.events(*some(1))
    for name in ("storage", "gateway", "replay"):
        studio.file(f"{name}.py", f"NAME = 'my {name}'\n")
    studio.file(
        "p.py",
        """
        import gateway, replay, storage
        def apply(state, event): state["names"] = [m.NAME for m in (storage, gateway, replay)]
        """,
    )
    assert studio.changes(studio.fold())[0][2]["names"] == ["my storage", "my gateway", "my replay"]


def test_no_package_of_refold_can_be_imported_in_the_worker(studio: Studio):
    studio.events(*some(1))
    studio.file(
        "p.py",
        """
        import sys
        def apply(state, event):
            names = {"storage", "gateway", "replay", "tui", "duckdb", "pyarrow"}
            state["loaded"] = sorted(names & {name.split(".")[0] for name in sys.modules})
            try:
                import storage
            except ModuleNotFoundError as error:
                state["error"] = str(error)
        """,
    )
    [(_, _, state)] = studio.changes(studio.fold())
    assert state == {"loaded": [], "error": "No module named 'storage'"}


@pytest.mark.parametrize("kind", ["plain", "with a set"])
def test_a_handler_that_raises_leaves_its_document_as_it_was(studio: Studio, kind):
    studio.events(*[("a", "T", {"n": n}) for n in range(4)])
    extra = "" if kind == "plain" else ", 'set': {1}"
    studio.file(
        "p.py",
        f"""
        def initial(key): return {{'seen': []{extra}}}
        def apply(state, event):
            state['seen'].append(event.data['n'])
            if event.data['n'] == 2:
                state['seen'].clear()
                state.pop('set', None)
                raise ValueError('no two')
        """,
    )
    folded = studio.fold()
    assert [(o, s["seen"]) for o, _, s in studio.changes(folded)] == [
        (0, [0]),
        (1, [0, 1]),
        (3, [0, 1, 3]),
    ]
    [failure] = studio.failures(folded)
    assert (failure.offset, failure.key, failure.error) == (2, "a", "ValueError: no two")
    assert "p.py" in failure.traceback
    assert "worker" not in failure.traceback


def test_types_without_a_handler_are_skipped_and_counted(studio: Studio):
    studio.events(*some(2, "Known"), *some(3, "Un.known"))
    studio.file("p.py", "def on_Known(state, event): state['n'] = 1\n")
    folded = studio.fold()
    assert (folded.skipped_events, dict(folded.unhandled_by_type), folded.next_offset) == (
        3,
        {"Un.known": 3},
        5,
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def apply(state event): pass", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("x = 1", "has none of apply"),
        ("import sys; sys.exit(5)", "SystemExit"),
        ("import os; os._exit(5)", "exited with code 5 while it was being loaded"),
        ("while True: pass", "did not return"),
    ],
)
def test_a_projection_that_cannot_be_loaded_is_one_error_sentence(studio: Studio, source, said):
    studio.events(*some(1))
    studio.file("p.py", source)
    with pytest.raises(ProjectionError, match=said) as caught:
        studio.fold(patience=1.0)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


DEATHS = {
    "a loop": ("while True: pass", "did not return within 2 s"),
    "os._exit": ("os._exit(7)", "exited with code 7"),
    "sys.exit": ("sys.exit(3)", "exited with code 3"),
    "SIGKILL": ("os.kill(os.getpid(), 9)", "SIGKILL"),
    "an alarm": (
        "signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(5)",
        "was ended by SIGALRM",
    ),
    "SIGTERM to itself": ("os.kill(os.getpid(), signal.SIGTERM)", "was ended by SIGTERM"),
    "an abort": ("os.abort()", "was ended by SIGABRT"),
    "a segmentation fault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_that_dies_gives_a_message_and_loses_no_folded_events(studio: Studio, death):
    statement, said = DEATHS[death]
    studio.events(*some(8), ("a", "Bad", {}), *some(2))
    studio.file(
        "p.py",
        f"import os, signal, sys, time\n{COUNT}\ndef on_Bad(state, event):\n    {statement}\n",
    )
    with pytest.raises(ProjectionError, match=said) as caught:
        studio.fold(patience=2)
    assert "offset 8 (Bad of a)" in caught.value.message
    kept = studio.found()
    assert kept.next_offset == 8
    assert studio.changes(kept)[-1] == (7, "b", {"n": 3})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("socket.socketpair()[0]", "state.bad is a socket"),
        ("(lambda: 1)", "state.bad is a function"),
        ("state", "nested over 200 deep, or contains itself"),
        ("(i for i in ())", "state.bad is a generator"),
    ],
)
def test_a_state_that_cannot_be_shown_is_a_failure_with_its_path(studio: Studio, value, path):
    studio.events(*some(1), ("a", "Bad", {}), ("a", "T", {}))
    bad = f"def on_Bad(state, event): state['bad'] = {value}\n"
    studio.file("p.py", "import socket\n" + COUNT + bad)
    folded = studio.fold()
    [failure] = studio.failures(folded)
    assert path in failure.error
    assert studio.changes(folded) == [(0, "a", {"n": 1}), (2, "a", {"n": 2})]


def test_printing_a_lot_neither_blocks_nor_corrupts(studio: Studio):
    studio.events(*some(20))
    noise = "    print('x' * 100_000); print('y' * 100_000, file=sys.stderr)\n"
    studio.file("p.py", f"import sys\ndef apply(state, event):\n{noise}    state['n'] = 1\n")
    assert studio.fold(patience=10).document_count == 3


FORBIDDEN = {
    "a file": "open('out.txt', 'w')",
    "a file called .pyc": "open('out.pyc', 'w')",
    "os.open": "os.open('out.txt', os.O_CREAT | os.O_WRONLY)",
    "a database": "sqlite3.connect('out.db').execute('create table t (a)')",
    "removing": "os.remove('p.py')",
    "touching": "os.utime('p.py')",
    "a socket": "socket.create_connection(('127.0.0.1', 9))",
    "a name": "socket.getaddrinfo('example.org', 80)",
    "a program": "subprocess.run(['true'])",
    "a shell": "os.system('true')",
    "a fork": "os.fork()",
    "a signal": "os.kill(os.getppid(), 0)",
}


@pytest.mark.real_worker
def test_nothing_gets_out_of_the_sandbox(studio: Studio):
    studio.events(*[("a", "T", {"n": n}) for n in range(len(FORBIDDEN))])
    ways = ", ".join(f"lambda: {way}" for way in FORBIDDEN.values())
    studio.file(
        "p.py",
        f"""
        import os, socket, sqlite3, subprocess
        WAYS = [{ways}]
        def apply(state, event): WAYS[event.data["n"]]()
        """,
    )
    before = sorted(studio.folder.iterdir())
    failures = studio.failures(studio.fold())
    errors = dict.fromkeys(FORBIDDEN, "PermissionError: a replay")
    found = {way: f.error[:25] for way, f in zip(FORBIDDEN, failures, strict=True)}
    assert found == errors
    assert sorted(studio.folder.iterdir()) == before


def test_reading_is_allowed_and_so_is_a_database_in_memory(studio: Studio):
    studio.events(*some(1))
    studio.file("rates.txt", "7")
    studio.file(
        "p.py",
        """
        import sqlite3
        def apply(state, event):
            state["rate"] = open("rates.txt").read()
            state["one"] = sqlite3.connect(":memory:").execute("select 1").fetchone()[0]
        """,
    )
    assert studio.changes(studio.fold())[0][2] == {"rate": "7", "one": 1}


def test_cancelling_keeps_what_was_folded(studio: Studio):
    studio.events(*some(9000))
    studio.file("p.py", COUNT)
    with pytest.raises(CancelledError):
        studio.fold(cancelled=lambda: True)
    assert 0 < studio.found().next_offset <= 9000
    assert studio.fold().change_count == 9000
    assert studio.changes(studio.found())[-1] == (8999, "c", {"n": 3000})


def refold(studio, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", _RUN]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=studio.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


_RUN = "from tui.cli import main; main()"


@pytest.mark.slow
def test_a_fold_killed_at_random_continues_to_the_same_history(studio: Studio):
    studio.events(*some(12_000))
    studio.file("p.py", COUNT)
    studio.file("q.py", COUNT)
    dice = random.Random(7)
    studio.workspace.release()
    for _ in range(4):
        process = refold(studio, "replay", "log.refold", "-p", "p.py")
        time.sleep(0.3 + dice.random() * 0.7)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert studio.changes(studio.fold()) == studio.changes(studio.fold("q.py"))


@pytest.mark.slow
def test_two_processes_that_fold_at_once_give_one_history(studio: Studio):
    studio.events(*some(30_000))
    studio.file("p.py", COUNT)
    studio.workspace.release()
    both = [refold(studio, "replay", "log.refold", "-p", "p.py") for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    changes = studio.changes(studio.found())
    assert [offset for offset, _, _ in changes] == list(range(30_000))
    assert changes[-1] == (29_999, "c", {"n": 10_000})


@pytest.mark.slow
def test_a_worker_ends_when_its_parent_is_killed(studio: Studio):
    studio.events(*some(1))
    noted = studio.folder / "pid"
    studio.file(
        "p.py", "import os, time\ndef apply(state, event):\n    while True: time.sleep(0.1)\n"
    )
    code = (
        "from pathlib import Path; import sys; from replay.fold import fold_projection\n"
        "from replay.history import catalogue; from replay.projection import projection_reference\n"
        "from replay.worker_host import sandbox\n"
        "from storage.workspace.workspace_file import WorkspaceFile\n"
        "start = sandbox.subprocess.Popen\n"
        "def popen(*a, **k):\n"
        "    started = start(*a, **k); Path('pid').write_text(str(started.pid)); return started\n"
        "sandbox.subprocess.Popen = popen\n"
        "wanted = projection_reference.parse_reference('p.py', catalogue.default_python(), Path.cwd())\n"
        "fold_projection(WorkspaceFile(Path('log.refold')), wanted)\n"
    )
    studio.workspace.release()
    root = str(ROOT)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=studio.folder, env={**os.environ, "PYTHONPATH": root}
    )
    _until(lambda: noted.exists() and noted.read_text())
    worker = int(noted.read_text())
    time.sleep(1.5)
    parent.kill()
    parent.wait()
    _until(lambda: not _runs(worker))


def _runs(pid: int) -> bool:
    """Whether the process runs; a zombie counts as ended, because nothing here reaps orphans."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _until(wanted, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_handlers_print_is_kept_by_event(studio: Studio):
    studio.events(*some(30))
    studio.file(
        "p.py",
        """
        import logging, sys
        print("while it was loaded")
        def apply(state, event):
            state["n"] = n = event.data["n"]
            if n == 7:
                print("seven", n, end="")
                sys.stderr.write(" and an error\\n")
                print("\\x1b[31mred")
            if n == 11: logging.warning("eleven")
            if n == 13: print("x" * 50_000)
        """,
    )
    history = studio.history()
    assert list(history.printed_offsets()) == [7, 11, 13]
    assert history.printed_output_at(7) == "seven 7 and an error\n\x1b[31mred\n"
    assert history.printed_output_at(11) == "WARNING:root:eleven\n"
    assert history.printed_output_at(13) == "x" * 10_000 + "… and 40,001 more characters"
    assert [offset for offset, _ in history.printed_output(2)] == [7, 11]
    studio.fold(force=True, workers=2)
    assert list(history.printed_offsets()) == [7, 11, 13]


GREEDY = {
    "one event that wants too much": "state['x'] = bytearray(10 ** 10)",
    "documents that grow": "state.setdefault('x', []).extend(range(10 ** 5 * event.data['n']))",
}


@pytest.mark.real_worker
@pytest.mark.parametrize("statement", GREEDY)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_exceeds_its_memory_is_one_error_sentence(studio: Studio, statement, workers):
    studio.events(*some(300))
    body = f"    if event.data['n'] >= 5: {GREEDY[statement]}\n    state['n'] = event.data['n']\n"
    studio.file("p.py", f"def apply(state, event):\n{body}")
    with pytest.raises(ProjectionError) as caught:
        studio.fold(memory=workers * 160_000_000, workers=workers)
    assert "used up the 160 MB that it may take (--memory) at offset " in caught.value.message
    assert "the states before it are kept." in caught.value.message
    kept = studio.found()
    assert 0 < kept.next_offset < 300
    assert len(studio.changes(kept)) == kept.next_offset


def test_threads_left_running_do_not_delay_the_end(studio: Studio):
    studio.events(*some(9))
    studio.file(
        "p.py",
        """
        import threading, time
        def apply(state, event):
            threading.Thread(target=lambda: time.sleep(60)).start()
            state["n"] = event.data["n"]
        """,
    )
    begun = time.monotonic()
    assert studio.fold().change_count == 9
    assert time.monotonic() - begun < 20


def test_waiting_for_input_is_a_failure_not_a_hang(studio: Studio):
    studio.events(*some(1))
    studio.file("p.py", "def apply(state, event): state['said'] = input('who? ')\n")
    [failure] = studio.failures(studio.fold())
    assert failure.error.startswith("EOFError")


def test_long_errors_are_truncated(studio: Studio):
    studio.events(("s", "T", {}))
    studio.file("p.py", "def apply(state, event): raise ValueError('y' * 1_000_000)")
    (failure,) = studio.history().failures()
    assert failure.error.startswith("ValueError: yyy")
    assert failure.error.endswith("more characters")
    assert len(failure.error) < 11_000
    assert len(failure.traceback) < 11_000


def test_a_slow_handler_reports_progress_soon_and_can_be_stopped(studio: Studio):
    studio.events(*(("s", "T", {}) for _ in range(2_000)))
    studio.file("p.py", "import time\ndef apply(state, event): time.sleep(0.02)")
    told = []
    with pytest.raises(CancelledError):
        studio.fold(on_progress=told.append, cancelled=lambda: any(p.folded for p in told))
    assert 0 < studio.found().next_offset < 200
