"""Every known escape is tried at isolation level 2, in a handler, a thread and a child process."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from replay.worker_host.sandbox import CellOptions, Sandbox
from tests.support.escapes import ESCAPES, MULTIPLIED, program

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's"),
    pytest.mark.real_worker,
]

_RUN = """
import json, sys
found = {}
for name, way, source in json.loads(sys.stdin.read()):
    names = {}
    try:
        exec(source, names)
        found[name + " in a " + way] = names["result"]
    except OSError:
        found[name + " in a " + way] = False
print(json.dumps(found))
"""


@pytest.fixture
def users(tmp_path: Path):
    """Create a file and a terminal of the user."""
    file = tmp_path / "file.txt"
    file.write_text("kept")
    master, slave = pty.openpty()
    yield os.ttyname(slave), file
    os.close(master)
    os.close(slave)


def _run(code, sent="", reported=None, **options):
    """Run code in a sandboxed Python; return the sandbox, its standard output and its errors."""
    report = (lambda call: None) if reported is None else reported.append
    cell = Sandbox(
        [sys.executable, "-c", code],
        report,
        CellOptions(**options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = cell.process.communicate(sent.encode(), timeout=60)
    finally:
        cell.end()
    return cell, out.decode(), err.decode()


def test_no_escape_succeeds_in_a_handler_a_thread_or_a_child(users):
    terminal, file = users
    before = (file.read_text(), file.stat().st_mode, {p.name for p in file.parent.iterdir()})
    sent = [
        (escape.name, way, program(escape, os.getpid(), terminal, str(file), way))
        for escape in ESCAPES
        for way in MULTIPLIED
    ]
    cell, out, err = _run(_RUN, json.dumps(sent))
    assert cell.isolation.level == 2, cell.isolation
    found = json.loads(out)
    assert len(found) == len(ESCAPES) * len(MULTIPLIED), err
    assert [name for name, got_out in found.items() if got_out] == []
    assert (
        file.read_text(),
        file.stat().st_mode,
        {p.name for p in file.parent.iterdir()},
    ) == before


@pytest.mark.parametrize("escape", [e for e in ESCAPES if e.is_reported], ids=lambda e: e.name)
def test_calls_that_the_kernel_refuses_are_reported(users, escape):
    terminal, file = users
    source = program(escape, os.getpid(), terminal, str(file))
    reported = []
    _run("try:\n    exec(" + repr(source) + ")\nexcept OSError:\n    pass", reported=reported)
    baseline = []
    _run("pass", reported=baseline)  # the attempts of the launcher itself
    assert len(reported) > len(baseline), (escape.name, reported)


def test_outside_the_sandbox_the_same_programs_succeed(users):
    """The table proves something only if these programs work for any other process."""
    terminal, file = users
    names = (
        *("socket of four", "datagrams of a pair", "signal to refold", "limits of refold"),
        *("file", "chmod", "terminal", "memory without a file"),
        *("session of its own", "processors of refold"),
    )
    sent = [
        (e.name, "handler", program(e, os.getpid(), terminal, str(file)))
        for e in ESCAPES
        if e.name in names
    ]
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert [name for name, got_out in found.items() if not got_out] == []
    assert len(found) == len(names)


def test_a_worker_can_signal_and_bind_its_own_child_and_thread():
    code = """
import os, signal, subprocess, threading, sys
child = subprocess.Popen(["sleep", "60"])
child.terminate()
assert child.wait() == -signal.SIGTERM
aborted = subprocess.run([sys.executable, "-c", "import os; os.abort()"])
assert aborted.returncode == -signal.SIGABRT
os.sched_setaffinity(0, os.sched_getaffinity(0))
thread = threading.Thread(target=signal.pause, daemon=True)
signal.signal(signal.SIGUSR1, lambda *_: None)
thread.start()
os.sched_setaffinity(thread.native_id, os.sched_getaffinity(0))
signal.pthread_kill(thread.ident, signal.SIGUSR1)
print("fine")
"""
    _cell, out, err = _run(code)
    assert out == "fine\n", err


MEMORY = {
    "its own": "b = bytearray(400 << 20)",
    "shared": "import mmap; m = mmap.mmap(-1, 400 << 20); [m.write(bytes(1 << 20)) for _ in range(400)]",
    "after it raised the limit": """
import resource
try:
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40))
except (ValueError, OSError):
    pass
b = bytearray(400 << 20)""",
    "of several children": """
import ctypes, mmap, time
libc = ctypes.CDLL(None)
for _ in range(8):
    if libc.fork() == 0:
        b = bytearray(60 << 20)
        time.sleep(60)
        libc._exit(0)
time.sleep(60)""",
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_stays_below_its_limit(name):
    code = MEMORY[name] + "\nimport time; time.sleep(3); print('took it')"
    cell, out, err = _run(code, memory=200 << 20)
    assert "took it" not in out
    assert cell.has_used_up_memory or "MemoryError" in err


CHILD = """
import ctypes, time
libc = ctypes.CDLL(None)
if libc.fork() == 0:
    libc.setsid()
    libc.setpgid(0, 0)
    if libc.fork() == 0:
        time.sleep(600)
    libc._exit(0)
print("born", flush=True)
"""


def _session(leader):
    from replay.worker_host.process_session import session_processes

    return list(session_processes(leader))


def test_a_child_that_asks_for_its_own_session_ends_with_the_worker():
    cell = Sandbox(
        [sys.executable, "-c", CHILD + "time.sleep(600)"],
        lambda _: None,
        stdout=subprocess.PIPE,
    )
    assert cell.process.stdout.readline() == b"born\n"
    assert len(_session(cell.process.pid)) >= 2
    cell.end()
    cell.process.wait()
    cell.process.stdout.close()
    _until(lambda: not _session(cell.process.pid))


def test_a_child_ends_when_refold_is_killed_after_its_worker_has_ended(tmp_path: Path):
    root = str(Path(__file__).parents[4])
    script = f"""
import subprocess, sys, time
sys.path.insert(0, {root!r})
from replay.worker_host.sandbox import Sandbox
cell = Sandbox([sys.executable, "-c", {CHILD!r}], lambda _: None, stdout=subprocess.PIPE)
assert cell.process.stdout.readline() == b"born\\n"
cell.process.wait()
print(cell.process.pid, flush=True)
time.sleep(600)
"""
    refold = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    leader = int(refold.stdout.readline())
    assert _session(leader)
    refold.kill()
    refold.wait()
    refold.stdout.close()
    _until(lambda: not _session(leader))


def _until(holds):
    import time

    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
