"""A terminal that goes away, as an ssh connection does."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROJECTION = "def apply(state, event):\n    state['n'] = state.get('n', 0) + 1\n"


class Terminal:
    """A screen in a terminal of its own."""

    def __init__(self, child: int, terminal: int) -> None:
        self.child = child
        self._terminal = terminal
        self.seen = b""

    def press(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def read_to_the_end(self, seconds: float = 20) -> bytes:
        """What is written until the last process of the terminal has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._terminal, 65_536)
                except OSError:
                    return self.seen
        raise AssertionError(self.seen[-2_000:])

    def until(self, wanted: bytes, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while wanted not in self.seen:
            assert time.monotonic() < deadline, self.seen[-2_000:]
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._terminal, 65_536)
                except OSError:
                    break  # its last process has ended
        assert wanted in self.seen


@contextmanager
def opened(*arguments: str) -> Iterator[Terminal]:
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        command = f"from tui.cli import main; main(['open', *{arguments!r}])"
        os.execv(sys.executable, [sys.executable, "-c", command])
    try:
        yield Terminal(child, terminal)
    finally:
        os.close(terminal)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_ends_it_gets_the_terminal_back_as_it_was(log: Any, number: int) -> None:
    path: Path = log({"stream": "s", "type": "T", "data": {}}).path
    with opened(str(path)) as terminal:
        terminal.until(b"refold")
        terminal.until(b"1049h")
        os.kill(terminal.child, number)
        terminal.until(b"1049l")  # the other screen is left
        terminal.until(b"?25h")  # and the cursor is seen


def test_the_screen_leaves_no_object_of_duckdb_behind(log: Any, tmp_path: Path) -> None:
    """DuckDB's bindings would list them on the terminal when the process ends."""
    path: Path = log({"stream": "s", "type": "T", "data": {}}).path
    (tmp_path / "p.py").write_text(PROJECTION)
    with opened(str(path), "-p", str(tmp_path / "p.py")) as terminal:
        terminal.until(b"help")
        terminal.press(b"q")
        terminal.until(b"1049l")
        assert b"nanobind" not in terminal.read_to_the_end()


def test_what_is_wrong_with_a_followed_source_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path("log.jsonl")
    source.write_text('{"stream": "s", "type": "T", "data": {}}\n')
    with opened(str(source), "--follow") as terminal:
        terminal.until(b"new events appear as they come")
        source.write_text("")
        terminal.until(b"no longer begins")


def test_without_its_terminal_the_screen_ends(log: Any) -> None:
    """Also where the hang-up's signal was ignored, as under nohup."""
    path: Path = log({"stream": "s", "type": "T", "data": {}}).path
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.environ["TERM"] = "xterm-256color"
        command = f"from tui.cli import main; main(['open', {str(path)!r}])"
        os.execv(sys.executable, [sys.executable, "-c", command])
    seen = b""
    deadline = time.monotonic() + 20
    while b"refold" not in seen:
        assert time.monotonic() < deadline, seen
        # No thread may be reading when it is closed, as that would keep it open.
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65_536)
    os.close(terminal)
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the screen goes on without a terminal")
