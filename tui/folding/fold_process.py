"""A background fold of the log: a `refold replay` process that reports progress as JSON lines.

The separate process keeps the screen small and quick, and a cancelled fold keeps what it has folded.
"""

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass

from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference
from storage.workspace.workspace import Workspace
from tui.child_command import build_refold_command


@dataclass(frozen=True)
class FoldMessage:
    """A progress message of a fold, or its end."""

    folded: int = 0
    """Events folded so far."""
    events: int = 0
    """Events to fold in total."""
    changes: int = 0
    """Events whose states can be queried."""
    has_ended: bool = False
    error: str | None = None


class FoldProcess:
    """A running fold. `tell` is called from a separate thread.

    With `standby` the process loads everything and waits until `start` is called.
    """

    def __init__(
        self,
        workspace: Workspace,
        reference: Reference,
        tell: Callable[[FoldMessage], None],
        *,
        force: bool,
        span: OffsetSpan | None = None,
        standby: bool = False,
    ) -> None:
        self._tell = tell
        self._stopped = False
        command = build_refold_command("replay", str(workspace.path.resolve()))
        command += ["-p", reference.text, "--python", reference.python, "--progress-lines"]
        command += ["--timeline", workspace.timeline]
        if force:
            command.append("--force")
        if span is not None:
            command += ["--from", str(span.first), "--to", str(span.last)]
        if standby:
            command.append("--standby")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if standby else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            cwd=reference.cwd,
            start_new_session=True,
        )
        self._last_error_line = ""
        self._error_thread = threading.Thread(
            target=self._read_errors, daemon=True, name="fold-errors"
        )
        self._error_thread.start()
        self._thread = threading.Thread(target=self._read_messages, daemon=True, name="fold")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def start(self, tell: Callable[[FoldMessage], None]) -> None:
        """Start the fold of a waiting process; it reports to `tell`."""
        self._tell = tell
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write("\n")
                self._process.stdin.close()

    def cancel(self) -> None:
        """Ask the process to stop; it keeps what it has folded."""
        self._stopped = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Stop the process, and wait for it; kill it after 10 seconds."""
        self.cancel()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(timeout=1)

    def _read_errors(self) -> None:
        """Read standard error while the process runs, because the process waits once its pipe is full."""
        assert self._process.stderr is not None  # noqa: S101 - opened as a pipe
        for line in self._process.stderr:
            self._last_error_line = line.strip() or self._last_error_line

    def _read_messages(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        last = FoldMessage()
        for line in self._process.stdout:
            with contextlib.suppress(ValueError, KeyError):
                message = json.loads(line)
                if "folded" in message:
                    last = FoldMessage(message["folded"], message["events"], message["kept"])
                    self._tell(last)
        code = self._process.wait()
        self._error_thread.join()
        error = None
        if code and not self._stopped:
            message = self._last_error_line or f"the fold ended with exit code {code}"
            error = message.removeprefix("refold: ")
        self._tell(FoldMessage(last.folded, last.events, last.changes, has_ended=True, error=error))
