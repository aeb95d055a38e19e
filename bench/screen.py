"""The screen in a terminal: time to the first useful paint, steps of a held key, memory."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

from bench import logs

_ROWS, _COLUMNS = 40, 120
_HELD_SECONDS = 4


class _Terminal:
    """`refold open` in a pseudo-terminal."""

    def __init__(self, workspace: Path) -> None:
        self.written = b""
        self.started = time.perf_counter()
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            # Like an installed refold, use bytecode, which the first run writes.
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            arguments = ["-m", "tui.cli", "open", str(workspace), "-p", str(logs.PROJECTION)]
            os.execv(sys.executable, [sys.executable, *arguments, "--at", "50%"])
        size = struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0)
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, size)

    def wait(self, wanted: bytes, timeout: float) -> float:
        """Return the seconds from the start until the screen shows this text."""
        while wanted not in self.written and time.perf_counter() - self.started < timeout:
            self.read(0.01)
        return time.perf_counter() - self.started

    def read(self, duration: float) -> None:
        """Read the output for `duration` seconds."""
        until = time.perf_counter() + duration
        while (left := until - time.perf_counter()) > 0:
            if select.select([self._screen], [], [], left)[0]:
                self.written += os.read(self._screen, 65_536)

    def press(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def memory(self) -> int:
        """Return the peak resident memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) // 1024

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def measured(workspace: Path) -> tuple[float, float, int]:
    """Return the seconds to the first paint, the steps per second, and the memory in MB."""
    terminal = _Terminal(workspace)
    paint = terminal.wait(b"currency", 30)
    terminal.read(1.5)
    terminal.written = b""
    # A held key repeats at 60 Hz, faster than the goal of 30 steps per second.
    for _ in range(_HELD_SECONDS * 60):
        terminal.press(b"]")
        terminal.read(1 / 60)
    steps = len(set(re.findall(rb"#([\d,]+)", terminal.written)))
    memory = terminal.memory()
    terminal.close()
    return paint, steps / _HELD_SECONDS, memory


def figures(small: int, large: int, runs: int = 3) -> list[str]:
    """Return the best of several runs, because disturbances only make a screen slower."""
    lines = []
    for events in (large, small):
        found = [measured(logs.workspace(events)) for _ in range(runs)]
        lines.append(
            f"screen at {events:>9,}     first paint {min(f[0] for f in found):4.2f} s (at most 1)"
            f"  held ] {max(f[1] for f in found):4.1f} painted steps/s (at least 30)"
            f"  memory {max(f[2] for f in found)} MB (at most 300)"
        )
    return lines
