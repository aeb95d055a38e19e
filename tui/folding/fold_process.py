"""Folding while the screen is used: `refold replay` in a process of its own, heard line by line.

So the screen's process stays small and quick, a cancelled fold keeps what it has, and the screen
does nothing that the command line can't.
"""

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class FoldMessage:
    """What a fold said: how far it is, or how it ended."""

    folded: int = 0
    events: int = 0
    changes: int = 0
    """Events whose states can be asked for."""
    has_ended: bool = False
    error: str | None = None


class FoldProcess:
    """A running fold. `tell` is called from a thread of its own.

    One that stands by has its process at hand, and begins when it is told to.
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
        # -P: nothing of the folder in which the user's code lies is imported, whatever its name.
        command = [sys.executable, "-P", "-m", "tui.cli"]
        command += ["replay", str(workspace.path.resolve())]
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
        self._thread = threading.Thread(target=self._hear, daemon=True, name="fold")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Its process hasn't ended."""
        return self._process.poll() is None

    def start(self, tell: Callable[[FoldMessage], None]) -> None:
        """The end of standing by; from now on `tell` is who is told."""
        self._tell = tell
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write("\n")
                self._process.stdin.close()

    def cancel(self) -> None:
        """Ask it to stop; what it has folded is kept."""
        self._stopped = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Stop it, and wait until it has."""
        self.cancel()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join(timeout=1)

    def _hear(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        last = FoldMessage()
        for line in self._process.stdout:
            with contextlib.suppress(ValueError, KeyError):
                said = json.loads(line)
                if "folded" in said:
                    last = FoldMessage(said["folded"], said["events"], said["kept"])
                    self._tell(last)
        words = self._process.stderr.read().strip().splitlines()
        code = self._process.wait()
        error = None
        if code and not self._stopped:
            error = (words[-1] if words else f"the fold ended with code {code}").removeprefix(
                "refold: "
            )
        self._tell(FoldMessage(last.folded, last.events, last.changes, has_ended=True, error=error))
