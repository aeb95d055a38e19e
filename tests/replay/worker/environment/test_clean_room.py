"""The sandbox lets nothing out: 200 generated attempts, in every mode and kind of code."""

import random
import sys
from pathlib import Path

import pytest

from gateway.modes import Mode
from replay.worker_host.sandbox import Sandbox
from sample_logs import SAMPLES
from tests.support.gateway_caller import Caller, Outside

pytestmark = pytest.mark.real_worker

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
WAYS = {
    "socket": "s = socket.socket(); s.connect(('127.0.0.1', PORT)); s.send(b'GET / HTTP/1.0\\r\\n\\r\\n')",
    "create_connection": "socket.create_connection(('localhost', PORT), 2)",
    "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "unix": "socket.socket(socket.AF_UNIX).connect('/tmp/none.sock')",
    "raw socket": "import _socket; s = _socket.socket(2, 1, 0); s.connect(('127.0.0.1', PORT))",
    "listening": "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()",
    "names": "socket.getaddrinfo('example.org', 80)",
    "asyncio": "asyncio.run(asyncio.open_connection('127.0.0.1', PORT))",
    "subprocess": "subprocess.run(['sh', '-c', 'echo > OUT'], check=True)",
    "system": "assert os.system('curl -s 127.0.0.1:PORT || echo > OUT') == 0",
    "popen": "os.popen('echo > OUT').read(); 1 / os.path.exists('OUT')",
    "spawn": "assert os.spawnlp(os.P_WAIT, 'sh', 'sh', '-c', 'echo > OUT') == 0",
    "fork": "os.fork() == 0 and os._exit(0)",
    "file": "open('OUT', 'w').write('x')",
    "append": "open('OUT', 'ab')",
    "os.open": "os.open('OUT', os.O_CREAT | os.O_WRONLY)",
    "mkdir": "os.mkdir('OUT')",
    "rename": "os.rename('log.jsonl', 'OUT')",
    "unlink": "os.unlink('log.jsonl')",
    "truncate": "os.truncate('log.jsonl', 0)",
    "symlink": "os.symlink('log.jsonl', 'OUT')",
    "sqlite": "import sqlite3; sqlite3.connect('OUT').execute('create table t (a)')",
    "kill": "os.kill(os.getppid(), 0)",
    "libc by name": "ctypes.CDLL('libc.so.6').socket(2, 1, 0)",
}
NATIVE = {
    "native socket": "fd = libc.socket(2, 1, 0); assert fd >= 0",
    "native socket of six": "fd = libc.socket(10, 1, 0); assert fd >= 0",
    "native unix socket": "fd = libc.socket(1, 1, 0); assert fd >= 0",
    "native file": "fd = libc.open(b'OUT', 0o101, 0o644); assert fd >= 0",
    "native truncate": "assert libc.truncate(b'log.jsonl', 0) == 0",
    "native unlink": "assert libc.unlink(b'log.jsonl') == 0",
    "native chmod": "assert libc.chmod(b'log.jsonl', 0o600) == 0",
    "native shared memory": "assert libc.shmget(0x7ef01d, 64, 0o1600) >= 0",
    "native mkdir": "assert libc.mkdir(b'OUT', 0o755) == 0",
    "native system": "assert libc.system(b'echo x > OUT') == 0",
    "native syscall": "assert libc.syscall(425, 8, 0) >= 0",
    "native ptrace": "assert libc.ptrace(16, os.getppid(), 0, 0) == 0",
}
WRAPPED = (
    "{way}",
    "threading.Thread(target=lambda: attempt(lambda: run({way!r}))).start()",
    "run({way!r})",
    "asyncio.run(asyncio.to_thread(run, {way!r}))",
)
SOURCE = """
import asyncio, ctypes, os, socket, subprocess, threading
libc = ctypes.CDLL(None)
def run(way):
    exec(way, globals())
def attempt(function):
    try:
        function()
    except BaseException as error:
        return type(error).__name__
    return "got out"
def apply(state, event):
    state["result"] = attempt(lambda: run(event.data["way"]))
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
"""


def _attempts(port, count, ways):
    drawn = random.Random(7)
    names = list(ways)
    for n in range(count):
        name = names[n % len(names)]
        way = ways[name].replace("PORT", str(port)).replace("OUT", f"out-{n}")
        wrapped = WRAPPED[0] if n < len(names) else drawn.choice(WRAPPED)
        yield name, wrapped.format(way=way)


@pytest.mark.parametrize("mode", [Mode.REPLAY, Mode.WHAT_IF, Mode.SEALED])
def test_two_hundred_attempts_reach_no_server_and_write_no_file(
    caller: Caller, outside: Outside, mode
):
    ways = {**WAYS, **NATIVE} if sys.platform == "linux" else WAYS
    attempts = list(_attempts(outside.port, 200, ways))
    caller.events(*[("a", "T", {"way": way}) for _, way in attempts])
    caller.file("p.py", SOURCE)
    there = {path.name for path in caller.folder.iterdir()}
    log = caller.log.read_bytes()
    folded = caller.replay(mode=mode)
    assert outside.count == 0
    assert caller.log.read_bytes() == log
    left = {p.name for p in caller.folder.iterdir()} - there
    assert not {name for name in left if name.startswith("out")}
    assert caller.failures(folded) == []
    known = {}
    for offset, _, state in caller.changes(folded):
        known[offset] = state["result"]
    for offset, (name, way) in enumerate(attempts[: len(ways)]):
        assert known.get(offset, known.get(offset - 1)) != "got out", (name, way)


def test_blocked_attempts_are_listed_with_their_event_and_stack(caller: Caller):
    caller.events(("a", "T", {}), ("a", "T", {}))
    caller.file(
        "p.py",
        """
        import socket
        open("kept.log", "a") if False else None
        def reach():
            socket.create_connection(("127.0.0.1", 9), 1)
        def apply(state, event):
            if event.offset == 1:
                try:
                    reach()
                except OSError:
                    state["blocked"] = True
            state["n"] = event.offset
        """,
    )
    folded = caller.replay()
    assert caller.states(folded)[-1] == {"n": 1, "blocked": True}
    found = caller.decided(folded)
    assert [(d.offset, d.key, d.decision) for d in found] == [(1, "a", "blocked")]
    assert found[0].port == "socket"
    assert "in reach" in found[0].stack
    assert "p.py" in found[0].stack


def test_opening_a_file_for_writing_while_loading_is_reported_without_an_event(caller: Caller):
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        """
        try:
            open("app.log", "a")
        except PermissionError:
            pass
        def apply(state, event):
            state["n"] = 1
        """,
    )
    [found] = caller.decided(caller.replay())
    assert (found.offset, found.decision, found.port) == (None, "blocked", "file")


@LINUX
def test_attempts_of_a_native_client_are_reported(caller: Caller, outside: Outside):
    pytest.importorskip("pyarrow.fs")
    caller.events(("a", "T", {}), ("a", "T", {}))
    caller.file(
        "p.py",
        f"""
        from pyarrow import fs
        def apply(state, event):
            if event.offset == 1:
                s3 = fs.S3FileSystem(access_key="a", secret_key="b", region="x", scheme="http",
                    endpoint_override="127.0.0.1:{outside.port}", request_timeout=1, connect_timeout=1)
                try:
                    s3.get_file_info("bucket/key")
                except OSError:
                    state["blocked"] = True
            state["n"] = event.offset
        """,
    )
    folded = caller.replay(patience=60)
    assert outside.count == 0
    assert caller.states(folded)[-1] == {"n": 1, "blocked": True}
    found = caller.decided(folded)
    assert found
    assert {(d.offset, d.decision, d.port) for d in found} == {(1, "blocked", "socket")}


@LINUX
def test_the_kernel_refuses_a_socket_and_reports_it():
    reported = []
    cell = Sandbox([sys.executable, "-c", "import socket; socket.socket()"], reported.append)
    assert (cell.isolation.level, cell.isolation.files) == (2, True)
    assert cell.process.wait() == 1
    assert "AF_INET" in [call.request for call in reported]
    assert str(cell.isolation) == "level 2, by the kernel"


@LINUX
def test_a_bare_interpreter_of_the_user_is_sandboxed(tmp_path: Path):
    import venv

    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    code = "import ctypes; print(ctypes.CDLL(None).socket(2, 1, 0)); open('x', 'w')"
    import subprocess

    cell = Sandbox(
        [str(python), "-c", code],
        lambda _: None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    out, err = cell.process.communicate()
    assert out == b"-1\n"
    assert b"PermissionError" in err
    assert cell.isolation.level == 2


CALLING = """
import importlib.util, requests
_spec = importlib.util.spec_from_file_location("real", {path!r})
real = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(real)
key = getattr(real, "key", None) or (lambda event: event.stream)
initial = getattr(real, "initial", lambda key: {{}})
def apply(state, event, gateway):
    for call in (
        lambda: requests.get({url!r} + "/q"),
        lambda: requests.post({url!r} + "/c", json={{}}),
        lambda: gateway.query("fx", "rate"),
        lambda: gateway.command("fx", "buy"),
    ):
        try:
            call()
        except Exception:
            pass
    return state
"""


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("mode", [Mode.REPLAY, Mode.WHAT_IF, Mode.SEALED])
def test_handlers_over_the_sample_logs_reach_no_server(
    caller: Caller, outside: Outside, sample, mode
):
    lines = SAMPLES[sample].log.read_text().splitlines()[:60]
    caller.log.write_text("\n".join(lines) + "\n")
    caller.events()
    path = str(SAMPLES[sample].projection)
    caller.file("p.py", CALLING.format(path=path, url=outside.url))
    folded = caller.replay(mode=mode)
    assert outside.count == 0
    assert caller.states(folded) == []
    stopped = {d.decision for d in caller.decided(folded)}
    assert stopped == {"blocked" if mode is Mode.SEALED else "missed"}


def test_sixteen_threads_reach_no_server_and_each_call_is_reported(
    caller: Caller, outside: Outside
):
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        f"""
        import requests
        from concurrent.futures import ThreadPoolExecutor
        def get(n):
            try:
                requests.get("{outside.url}/" + str(n))
            except Exception as error:
                return type(error).__name__
        def apply(state, event):
            with ThreadPoolExecutor(16) as pool:
                state["got"] = sorted(set(pool.map(get, range(200))))
        """,
    )
    folded = caller.replay()
    assert outside.count == 0
    found = caller.decided(folded)
    assert len({d.request for d in found if d.decision == "missed"}) == 200


def test_a_blocked_python_socket_is_reported_with_its_stack(caller: Caller):
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        """
        import socket
        def reach():
            return socket.socket()
        def apply(state, event):
            one, other = socket.socketpair()
            one.close(), other.close()
            try:
                reach()
            except PermissionError:
                state["n"] = 1
        """,
    )
    folded = caller.replay()
    [found] = caller.decided(folded)
    assert (found.decision, found.operation) == ("blocked", "new")
    assert "in reach" in found.stack
