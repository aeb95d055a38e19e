"""The fork server's own process: loads a program once, and forks for each request.

Its arguments are a socket and the program's source. A request is one byte and descriptors: of a
connection, over which a line of JSON follows, and of the new process. The answers over the connection
are the process's id and, when it has ended, its exit code. Besides the program, only modules of the
standard library are loaded.
"""

import fcntl
import gc
import json
import os
import pathlib
import select
import signal
import socket
import sys
import time

_FREE_DESCRIPTORS = 100
_MOST_DESCRIPTORS = 16


def serve(control: socket.socket) -> dict | None:
    """Answer requests until the socket is closed; in a forked process return its request."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, reading], [], [])
        if reading in ready:
            os.read(reading, 4096)
            _report_ended(running)
        if control in ready:
            byte, descriptors, _, _ = socket.recv_fds(control, 1, _MOST_DESCRIPTORS)
            if not byte:
                return None
            connection = socket.socket(fileno=descriptors.pop(0))
            with connection.makefile("rb") as stream:
                request = json.loads(stream.readline())
            process = os.fork()
            if process == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for stream in (control, connection, *running.values()):
                    stream.close()
                os.close(reading)
                os.close(writing)
                return {**request, "received": descriptors}
            for descriptor in descriptors:
                os.close(descriptor)
            running[process] = connection
            connection.sendall(b"%d\n" % process)


def _report_ended(running: dict[int, socket.socket]) -> None:
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == 0:
            return
        with running.pop(process) as connection:
            try:
                connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
            except OSError:
                continue  # nobody waits for it


def become(request: dict) -> None:
    """Make this process look as if it had been started with the request."""
    os.setsid()
    moved = [fcntl.fcntl(d, fcntl.F_DUPFD, _FREE_DESCRIPTORS) for d in request["received"]]
    for descriptor in request["received"]:
        os.close(descriptor)
    for descriptor, number in zip(moved, request["descriptors"], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    program = sys.argv[2]
    scope: dict = {}
    exec(program, scope)
    threads = pathlib.Path("/proc/self/task")
    assert not threads.is_dir() or len(list(threads.iterdir())) == 1, (
        "a fork loses the other threads"
    )
    gc.collect()
    gc.freeze()
    request = serve(control)
    if request is not None:
        become(request)
        scope["run"](request["arguments"])


main()
