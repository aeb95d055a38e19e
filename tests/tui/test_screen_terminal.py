"""A terminal that goes away, as an ssh connection does."""

import os
import pty
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any


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
