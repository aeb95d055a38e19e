"""A pseudo-terminal for the debugged process, inside the user's terminal.

The process never holds the user's terminal. The output of its pseudo-terminal is sanitized before the
user's terminal shows it, and its input is what the user types. So it can't type commands, read keys
after its end, or change the terminal's modes. The user's terminal is restored at any end but SIGKILL.
"""

import codecs
import contextlib
import fcntl
import os
import pty
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from replay.worker_host.sigint import handled_signals

_PIECE = 1 << 16
_STANDARD = (0, 1, 2)
_INTERRUPT = b"\x03"
_INTERRUPTS_TO_KILL = 5
"""Ctrl+C this often in a row ends a process that ignores it."""
_LATE_SECONDS = 0.03
"""Seconds to wait for output, because the kernel passes it on a little after it was written."""
_ENDS = (signal.SIGTERM, signal.SIGHUP)

Sanitize = Callable[[str], str]
"""Makes text safe for a terminal; its text has none of the controls in `_KEPT`."""
_KEPT = "\n\r\b\t\a"
"""Controls that only move the cursor within its line; with TERM=dumb, line editors need no more."""


class DebugTerminal:
    """The pseudo-terminal of one process, opened before the process starts."""

    def __init__(self, sanitize: Sanitize) -> None:
        """Open a pseudo-terminal if one of the standard streams is a terminal, else nothing."""
        self._sanitize = sanitize
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._are_terminals = [os.isatty(number) for number in _STANDARD]
        self._user = next((n for n in (1, 2, 0) if self._are_terminals[n]), None)
        self._master = self._slave = -1
        self._saved: Any = None
        self._interrupts = 0
        self._kill: Callable[[], None] = lambda: None
        if self._user is not None:
            self._master, self._slave = pty.openpty()
            self._copy_size()

    @property
    def is_open(self) -> bool:
        """Whether the process has a terminal."""
        return self._user is not None

    @property
    def reads(self) -> bool:
        """Whether the process's standard input is the terminal."""
        return self._are_terminals[0]

    @property
    def streams(self) -> dict[str, Any]:
        """Arguments for `subprocess.Popen` that replace each stream that is the user's terminal."""
        names = zip(("stdin", "stdout", "stderr"), self._are_terminals, strict=True)
        return {name: self._slave if is_terminal else None for name, is_terminal in names}

    def started(self) -> None:
        """Close this side's copy of the process's end, once the process has started."""
        if self.is_open:
            os.close(self._slave)
            self._slave = -1

    @contextlib.contextmanager
    def attached(self, kill: Callable[[], None]) -> Iterator[None]:
        """Pass on keys and the window's size until the end; `kill` ends the process at once."""
        if self._user is None:
            yield
            return
        self._kill = kill
        with (
            handled_signals(self._copy_size, signal.SIGWINCH),
            handled_signals(self._end, *_ENDS),
        ):
            try:
                if self.reads:
                    self._saved = termios.tcgetattr(0)
                    tty.setraw(0, termios.TCSADRAIN)
                    modes = termios.tcgetattr(0)
                    modes[1] = self._saved[1]  # keep the line ends of refold's own output
                    termios.tcsetattr(0, termios.TCSADRAIN, modes)
                yield
            finally:
                try:
                    self.drain()
                finally:
                    self._restore()

    def close(self) -> None:
        """Close all open descriptors."""
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1

    def pump(self, wake: int) -> None:
        """Pass on output and keys until the descriptor `wake` is readable."""
        while True:
            waiting = [wake]
            if self._master >= 0:
                waiting.append(self._master)
                if self.reads:
                    waiting.append(0)
            ready = select.select(waiting, [], [])[0]
            if self._master in ready:
                self._show()
            if 0 in ready and self.reads:
                self._type()
            if wake in ready:
                return

    def drain(self) -> None:
        """Show what the process has written so far."""
        while self._master >= 0 and select.select([self._master], [], [], _LATE_SECONDS)[0]:
            self._show()

    def _show(self) -> None:
        try:
            data = os.read(self._master, _PIECE)
        except OSError:  # every process with the other end has closed it
            data = b""
        text = self._decode.decode(data, final=not data)
        if text and self._user is not None:
            _write(self._user, self._safe(text).encode("utf-8", "replace"))
        if not data:
            os.close(self._master)
            self._master = -1

    def _safe(self, text: str) -> str:
        pieces, start = [], 0
        for at, character in enumerate(text):
            if character in _KEPT:
                pieces += [self._sanitize(text[start:at]), character]
                start = at + 1
        return "".join([*pieces, self._sanitize(text[start:])])

    def _type(self) -> None:
        keys = os.read(0, _PIECE)
        if not keys:
            self._are_terminals[0] = False
            return
        self._interrupts = self._interrupts + 1 if keys == _INTERRUPT else 0
        if self._interrupts >= _INTERRUPTS_TO_KILL:
            self._kill()
        # Drop keys that the process doesn't read, so that refold never waits for it.
        if self._master >= 0 and select.select([], [self._master], [], 0)[1]:
            _write(self._master, keys)

    def _copy_size(self, *_: object) -> None:
        if self._user is not None and self._master >= 0:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self._user, termios.TIOCGWINSZ, bytes(8))
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _end(self, number: int, _: FrameType | None) -> None:
        """Restore the terminal, kill the process, and end with the signal's default action."""
        self._restore()
        self._kill()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _restore(self) -> None:
        if self._saved is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = None


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
