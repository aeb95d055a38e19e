"""Processes of a program that is loaded already: forked from a server instead of started.

Starting an interpreter and importing a program takes a tenth of a second or more, and forking a process
that has done both takes a hundredth. `ForkServer.start` takes the arguments of `subprocess.Popen` and
returns an object like one. The new process has its own memory, so nothing of one reaches another; it
has no kernel sandbox. The server ends when the process that started it ends.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_SCRIPT = Path(__file__).with_name("fork_server_process.py")
_POLL_SECONDS = 1e-6
"""A timeout of 0 would make the socket raise another error."""


class ForkServer:
    """A process that has loaded a program and forks itself for each start of it."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        """`program` is Python source that loads the program and defines `run(arguments)`.

        `environment` are variables that an interpreter reads when it starts.
        """
        self._program = program
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._started_by = (0, {"": ""})
        """The process that started the server, and its variables for interpreters at that time."""

    def can_start(self, env: Mapping[str, str]) -> bool:
        """Return whether an interpreter with these variables would start like the server's."""
        return _python_variables(env) == _python_variables({**os.environ, **self._environment})

    def start(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | Path | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
        encoding: str | None = None,
        errors: str | None = None,
        **_: Any,
    ) -> "ForkedProcess":
        """Start the program in its own session; the arguments are those of `subprocess.Popen`."""
        ours: dict[str, IO[Any]] = {}
        opened: list[int] = []

        def end_of(name: str, wanted: int | None, number: int) -> int:
            if wanted == subprocess.PIPE:
                reading, writing = os.pipe()
                mine, theirs = (writing, reading) if number == 0 else (reading, writing)
                text = {"encoding": encoding, "errors": errors} if encoding else {}
                mode = ("w" if number == 0 else "r") + ("" if encoding else "b")
                ours[name] = os.fdopen(mine, mode, **text)
            elif wanted == subprocess.STDOUT:
                return opened[1]
            elif wanted == subprocess.DEVNULL:
                theirs = os.open(os.devnull, os.O_RDWR)
            else:
                theirs = os.dup(number)
            opened.append(theirs)
            return theirs

        standard = [
            end_of(name, wanted, number)
            for number, (name, wanted) in enumerate(
                (("stdin", stdin), ("stdout", stdout), ("stderr", stderr))
            )
        ]
        request = {
            "arguments": list(arguments),
            "cwd": str(cwd or Path.cwd()),
            "env": dict(env),
            "descriptors": [0, 1, 2, *pass_fds],
        }
        connection, servers_end = socket.socketpair()
        try:
            with self._lock:
                control = self._connect()
                socket.send_fds(control, [b"+"], [servers_end.fileno(), *standard, *pass_fds])
            connection.sendall(json.dumps(request).encode() + b"\n")
        finally:
            servers_end.close()
            for descriptor in opened:
                os.close(descriptor)
        return ForkedProcess(arguments, connection, ours)

    def _connect(self) -> socket.socket:
        """Return the socket to the server; start the server first if this process has none."""
        settings = _python_variables(os.environ)
        if self._control is not None and self._started_by == (os.getpid(), settings):
            return self._control
        self._control, servers_end = socket.socketpair()
        server = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT), str(servers_end.fileno()), self._program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
            pass_fds=(servers_end.fileno(),),
            start_new_session=True,
        )
        server.returncode = 0  # don't wait for it: it ends with this process
        servers_end.close()
        self._started_by = (os.getpid(), settings)
        return self._control


def _python_variables(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


class ForkedProcess:
    """A process that a fork server has started; has what the callers use of `subprocess.Popen`."""

    def __init__(
        self, arguments: Sequence[str], connection: socket.socket, streams: Mapping[str, IO[Any]]
    ) -> None:
        self.args = arguments
        self._connection = connection
        self._lock = threading.Lock()
        self.stdin, self.stdout, self.stderr = map(streams.get, ("stdin", "stdout", "stderr"))
        self.returncode: int | None = None
        self.pid = self._receive_pid()

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""
        return self._receive_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the process has ended, or raise `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 1.0 if deadline is None else max(deadline - time.monotonic(), 0)
            code = self._receive_code(min(left, 1.0))
            if code is not None:
                return code
            if deadline is not None and left == 0:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)

    def send_signal(self, number: int) -> None:
        """Send a signal unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def kill_session(self) -> None:
        """Kill the process and those that it started."""
        if self.poll() is None:
            for end in (os.killpg, os.kill):  # it may not lead its session yet
                with contextlib.suppress(ProcessLookupError):
                    end(self.pid, signal.SIGKILL)

    def _receive_pid(self) -> int:
        digits = b""
        while not digits.endswith(b"\n"):  # the exit code may follow at once
            digits += self._connection.recv(1) or b"0\n"
        if int(digits) == 0:
            raise ChildProcessError("the fork server has ended")
        return int(digits)

    def _receive_code(self, timeout: float) -> int | None:
        with self._lock:
            if self.returncode is None:
                self._connection.settimeout(timeout or _POLL_SECONDS)
                try:
                    text = self._connection.recv(16)
                except TimeoutError:
                    return None
                self.returncode = int(text) if text else -signal.SIGKILL  # the server has ended
                self._connection.close()
            return self.returncode
