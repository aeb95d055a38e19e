"""Workers that are forked instead of started, for tests that only need a fold.

They run the same code and speak the same protocol, each in a process of its own. Not the same are the
start of the interpreter and the kernel's sandbox: they have isolation level 1 and no watched memory.
Tests of those, of programs and of other interpreters have the marker `real_worker`.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from replay.worker_host import worker_process
from replay.worker_host.sandbox import CellOptions, IsolationLevel, Sandbox
from replay.worker_host.seccomp_listener import BlockedCall
from tests.support.fork_server import ForkServer

_PROGRAM = """
import runpy
import sys

main_module = sys.modules["__main__"]
main_module.__file__ = MAIN
runpy.run_path(MAIN)["_load_worker_package"]()
from refold_worker import main

def run(arguments):
    sys.argv = arguments
    main.main()
"""


class ForkedSandbox:
    """A worker's process without a sandbox, in the place of `Sandbox`."""

    has_used_up_memory = False

    def __init__(self, arguments: Sequence[str], **popen: Any) -> None:
        self.process = _server.start(arguments, **popen)
        self.isolation = IsolationLevel(1, False, "it was forked for a test")

    def end(self) -> None:
        """End the process and all processes that it started."""
        self.process.kill_session()


_server = ForkServer(
    _PROGRAM.replace("MAIN", repr(str(worker_process.WORKER_MAIN))),
    {
        name: value
        for name, value in worker_process.worker_environment().items()
        if name.startswith("PYTHON")
    },
)
is_forking = True
"""Whether workers are forked; a test with the marker `real_worker` turns it off."""


def start_sandbox(
    command: Sequence[str],
    on_blocked_socket: Callable[[BlockedCall], None],
    options: CellOptions,
    **popen: Any,
) -> Sandbox | ForkedSandbox:
    """Start a worker's process: forked if it is a fold in this interpreter, else as refold does."""
    if is_forking and _is_plain_fold(command) and _server.can_start(popen["env"]):
        return ForkedSandbox(command[1:], **popen)
    return Sandbox(command, on_blocked_socket, options, **popen)


def _is_plain_fold(command: Sequence[str]) -> bool:
    return command[0] == sys.executable and '"command": []' in command[2] and len(command) == 3


def install() -> None:
    """Make every worker of this process start with `start_sandbox`."""
    worker_process.Sandbox = start_sandbox  # type: ignore[assignment, misc]
