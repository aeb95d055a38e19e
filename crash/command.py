"""Runs one refold command in a forked child, detects if it hangs, and measures its memory.

The campaign imports refold once, because forking is twenty times faster than starting Python. With
`is_real` a command starts in its own Python, as a person starts it.
"""

import atexit
import contextlib
import importlib
import math
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from crash import process_tree
from crash.hang import LIMIT_SECONDS, HangDetector

LIMIT_MB = 2_000.0
_POLL_SECONDS = 0.02
_GRACE_SECONDS = 3.0

Watch = Callable[[int], None]
"""Called with the child's process id every few milliseconds while it or one of its processes runs."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    arguments: Sequence[str]
    code: int
    """The exit code, or the negative number of the signal that ended the command."""
    stdout: bytes
    stderr: bytes
    seconds: float
    """Seconds of the clock."""
    processor_seconds: float
    memory_mb: float
    hang: str
    """Why the command counts as a hang; empty if it does not."""
    survivors: Sequence[str]
    """The command lines of processes of the command that ran on after its end."""


@dataclass(frozen=True)
class Home:
    """The folder in which commands run; it holds their configuration and cache."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def variables(self, mark: str) -> dict[str, str]:
        """Return the environment of a command."""
        return {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "XDG_CONFIG_HOME": str(self.folder / "home/config"),
            "XDG_CACHE_HOME": str(self.folder / "home/cache"),
            "TERM": "dumb",
            "COLUMNS": "120",
            process_tree.MARK: mark,
            **self.environment,
        }


def import_refold() -> None:
    """Import every command once, which saves forked children the time."""
    cli = importlib.import_module("tui.cli")
    for entry in cli.COMMANDS.values():
        importlib.import_module(f"tui.cli.commands.{entry.module}")
    for name in (
        "storage.ingest.loader",
        "replay.fold",
        "storage.workspace.migration",
        "replay.erasure",
    ):
        importlib.import_module(name)


def run_refold(
    home: Home,
    arguments: Sequence[str],
    *,
    limit_seconds: float = LIMIT_SECONDS,
    kill_after_seconds: float = math.inf,
    stdin: bytes = b"",
    before: Callable[[], None] | None = None,
    watch: Watch | None = None,
    is_real: bool = False,
) -> Outcome:
    """Run a command and return how it ended; the child calls `before` first.

    A command that hangs is killed; `limit_seconds` is the limit of the `HangDetector`.
    """
    return run_function(
        home,
        lambda: _call_refold(arguments, is_real=is_real),
        label=arguments,
        limit_seconds=limit_seconds,
        kill_after_seconds=kill_after_seconds,
        stdin=stdin,
        before=before,
        watch=watch,
    )


def run_function(
    home: Home,
    function: Callable[[], int],
    *,
    label: Sequence[str] = (),
    limit_seconds: float = LIMIT_SECONDS,
    kill_after_seconds: float = math.inf,
    stdin: bytes = b"",
    before: Callable[[], None] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Run a function in a forked child as if it were a command."""
    mark = secrets.token_hex(8)
    with _files(stdin) as (given, out, err):
        started = time.monotonic()
        pid = _fork(home, mark, (given, out, err), before, function)
        detector = HangDetector(partial(process_tree.tree_has_work, pid), limit_seconds)
        end = _wait(pid, detector, started + kill_after_seconds, watch)
        seconds = time.monotonic() - started
        left = process_tree.wait_for_end(
            mark, _GRACE_SECONDS, (lambda: None) if watch is None else partial(watch, pid)
        )
        survivors = [process_tree.describe(process) for process in left]
        process_tree.kill_all(left)
        return Outcome(
            arguments=label,
            code=os.waitstatus_to_exitcode(end.status),
            stdout=_content(out),
            stderr=_content(err),
            seconds=seconds,
            processor_seconds=end.processor_seconds,
            memory_mb=end.memory_mb,
            hang=end.hang,
            survivors=survivors,
        )


def _call_refold(arguments: Sequence[str], *, is_real: bool) -> int:
    if is_real:
        command = [sys.executable, "-P", "-m", "tui.cli", *arguments]
        return subprocess.run(command, check=False).returncode
    from tui.cli import main

    main(list(arguments))
    return 0


def _fork(
    home: Home,
    mark: str,
    streams: tuple[int, int, int],
    before: Callable[[], None] | None,
    function: Callable[[], int],
) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        for target, source in enumerate(streams):
            os.dup2(source, target)
        _reset_process()
        os.chdir(home.folder)
        os.environ.clear()
        os.environ.update(home.variables(mark))
        # The campaign's own exit handlers would remove its files.
        atexit._clear()  # noqa: SLF001 - there is no public function
        if before is not None:
            before()
        code = function()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - printed like Python prints it, which is a finding
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()  # noqa: SLF001 - as above
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return 0


def _reset_process() -> None:
    """Give the child the standard streams and signal handlers of a new process."""
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it is standard input
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as above
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - as above
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@dataclass(frozen=True)
class _End:
    status: int
    processor_seconds: float
    memory_mb: float
    hang: str


def _wait(pid: int, detector: HangDetector, kill_at: float, watch: Watch | None) -> _End:
    """Wait for the end of a command; kill it at a time, or if it hangs or uses too much memory."""
    memory, hang, fine = 0.0, "", 0.002
    ended = select.poll()
    descriptor = os.pidfd_open(pid)
    ended.register(descriptor, select.POLLIN)
    try:
        while True:
            if watch is not None:
                watch(pid)
            if ended.poll((0.0005 if watch else fine) * 1_000):
                _, status, usage = os.wait4(pid, 0)
                processor_seconds = max(detector.processor_seconds, usage.ru_utime + usage.ru_stime)
                return _End(status, processor_seconds, max(memory, usage.ru_maxrss / 1e3), hang)
            fine = min(_POLL_SECONDS, fine * 2)
            usage_now = process_tree.measure_tree(pid)
            memory = max(memory, usage_now.memory_mb)
            hang = hang or detector.check(usage_now.processor_seconds)
            if hang or memory > LIMIT_MB or time.monotonic() > kill_at:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _files(stdin: bytes) -> Iterator[tuple[int, int, int]]:
    make = tempfile.TemporaryFile
    with make() as given, make() as out, make() as err:
        given.write(stdin)
        given.seek(0)
        yield given.fileno(), out.fileno(), err.fileno()


def _content(descriptor: int) -> bytes:
    size = min(os.fstat(descriptor).st_size, 4 << 20)
    return os.pread(descriptor, size, 0)
