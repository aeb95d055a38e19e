"""Runs a refold command in this process and captures its output at the file descriptors."""

import os
import sys
from collections.abc import Sequence

from crash.finding import Finding
from crash.output_rules import broken_texts

_MOST_OUTPUT = 4 << 20


class CapturedCommands:
    """Runs commands one after the other, and keeps the output of the last one."""

    def __init__(self) -> None:
        self._streams = [os.memfd_create(name) for name in ("stdout", "stderr")]
        self.code = 0
        self.stdout = b""
        self.stderr = b""

    def run(self, arguments: Sequence[str]) -> list[Finding]:
        """Run a command, and return the rules that it breaks."""
        from tui.cli import run_command

        sys.stdout.flush()
        sys.stderr.flush()
        saved = [os.dup(1), os.dup(2)]
        for target, stream in zip((1, 2), self._streams, strict=True):
            os.ftruncate(stream, 0)
            os.lseek(stream, 0, os.SEEK_SET)
            os.dup2(stream, target)
        raised = ""
        try:
            self.code = run_command(list(arguments))
        except BaseException as error:  # noqa: BLE001 - a person would see it as a traceback
            raised, self.code = f"{type(error).__name__}: {error}", 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, kept in zip((1, 2), saved, strict=True):
                os.dup2(kept, target)
                os.close(kept)
        self.stdout, self.stderr = (self._content(stream) for stream in self._streams)
        found = list(broken_texts(arguments, self.stdout, self.stderr))
        if raised:
            found.append(Finding("traceback", f"{' '.join(arguments)[:500]}: {raised[:500]}"))
        elif self.code not in range(5):
            found.append(Finding("exit code", f"{' '.join(arguments)[:500]}: {self.code}"))
        return found

    def _content(self, stream: int) -> bytes:
        return os.pread(stream, min(os.fstat(stream).st_size, _MOST_OUTPUT), 0)
