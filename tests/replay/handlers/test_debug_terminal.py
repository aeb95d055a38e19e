"""`refold debug` at a terminal: the handler has its own, and the user's is restored."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.tui.cli.commands.test_debug import MAIN, Shell

pytestmark = [pytest.mark.real_worker, pytest.mark.slow]


class Seat:
    """A user's terminal in which `refold debug` runs."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        command = [sys.executable, "-c", MAIN, "debug", "log.jsonl", "-p", "p.py", *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=shell.folder,
            env=shell.env,  # with TERM=dumb, so that refold itself writes no control characters
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )

    def until(self, text: str, since: int = 0) -> str:
        """Read until a text follows the index `since`; return all output."""
        deadline = time.monotonic() + 60
        while text.encode() not in self.seen[since:]:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 4096)
        return self.seen[since:].decode("utf-8", "replace")

    def type(self, keys: str, text: str = "(Pdb) ") -> str:
        """Type keys, and read output up to a text."""
        since = len(self.seen)
        os.write(self.master, keys.encode())
        return self.until(text, since)

    def wait(self) -> int:
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096)
        while select.select([self.master], [], [], 0.1)[0]:
            self.seen += os.read(self.master, 4096)
        return self.process.returncode

    @property
    def is_restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def sit(tmp_path: Path):
    made = []

    def start(source: str, *arguments: str) -> Seat:
        shell = Shell(tmp_path)
        shell.write(source)
        assert shell.run("replay", "log.jsonl", "-p", "p.py")[0] == 0
        made.append(Seat(shell, "--at", "0", *arguments))
        return made[-1]

    yield start
    for seat in made:
        seat.close()


PLAIN = "def on_Added(state, event):\n    state['n'] = 1\n"


def test_keys_history_and_window_size_reach_the_debugger(sit):
    seat = sit(PLAIN)
    seat.until("(Pdb) ")
    assert "41 + 1" in seat.type("p 41 + 1\r")
    assert b"42" in seat.seen
    since = len(seat.seen)
    seat.type("\x1b[A\r")  # the line before, from the history
    assert b"42" in seat.seen[since:]
    assert "97" in seat.type("p __import__('os').get_terminal_size().columns\r")
    seat.type("c\r", "after")
    assert seat.wait() == 0
    assert seat.is_restored


def test_output_of_a_handler_is_sanitized(sit):
    seat = sit(
        """
        import sys
        def on_Added(state, event):
            sys.stdout.write("\\x1b]0;title\\x07\\x1b[2J\\x1b[1A\\x9b2Jred\\x1b[31m\\u202eend\\n")
            sys.stdout.flush()
        """
    )
    seat.until("(Pdb) ")
    seat.type("n\r")
    seat.type("c\r", "after")
    assert seat.wait() == 0
    shown = seat.seen
    assert b"red" in shown
    assert b"title" in shown
    for hostile in (b"\x1b", b"\x9b2J", "\u202e".encode()):
        assert hostile not in shown
    assert seat.is_restored


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
def test_a_handler_cannot_type_commands_or_read_keys_of_the_users_terminal(sit, tmp_path: Path):
    seat = sit(
        """
        import ctypes, os
        libc = ctypes.CDLL(None)
        def on_Added(state, event):
            typed = [libc.ioctl(fd, 0x5412, b"x") for fd in range(8)]
            names = [f"/dev/pts/{name}" for name in os.listdir("/dev/pts")]
            opened = [libc.open(name.encode(), 0o400) for name in names]
            state["out"] = max(typed + opened)
        """
    )
    seat.until("(Pdb) ")
    seat.type("c\r", "after")
    assert seat.wait() == 0
    last = seat.seen.decode().splitlines()[-1].split()
    assert last[-1] == '{"out":-1}', seat.seen
    assert not select.select([seat.slave], [], [], 0)[0]  # no input is left for a shell


def test_ctrl_c_interrupts_the_handler_and_ctrl_d_leaves(sit):
    seat = sit("import os\ndef on_Added(state, event):\n    while os.isatty(0):\n        pass\n")
    seat.until("(Pdb) ")
    os.write(seat.master, b"c\r")
    seat.until("c\r")
    seat.type("\x03", "(Pdb) ")
    assert any(said in seat.seen for said in (b"Program interrupted", b"KeyboardInterrupt"))
    os.write(seat.master, b"q\r")
    assert seat.wait() == 0
    assert seat.is_restored

    other = sit(PLAIN)
    other.until("(Pdb) ")
    os.write(other.master, b"\x04")
    assert other.wait() == 0
    assert other.is_restored


def test_five_times_ctrl_c_ends_a_handler_that_ignores_it(sit):
    seat = sit(
        """
        import os, signal
        def on_Added(state, event):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            while os.isatty(0): pass
        """
    )
    seat.until("(Pdb) ")
    os.write(seat.master, b"c\r")
    time.sleep(0.5)
    for _ in range(8):
        os.write(seat.master, b"\x03")
        time.sleep(0.2)
        if seat.process.poll() is not None:
            break
    assert seat.wait() == 3
    assert b"SIGKILL" in seat.seen
    assert seat.is_restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_restored_when_refold_is_ended(sit, number):
    seat = sit(PLAIN)
    seat.until("(Pdb) ")
    assert not seat.is_restored
    seat.process.send_signal(number)
    assert seat.wait() == -number
    assert seat.is_restored
