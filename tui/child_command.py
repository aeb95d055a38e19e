"""The command that runs refold in a child process, with refold's own code and interpreter."""

import sys


def build_refold_command(*arguments: str) -> list[str]:
    """Return the command that runs refold with these arguments in this interpreter.

    `-P` keeps Python from importing modules from the current folder, which is the user's: it may have
    a `storage` or a `tui` of its own.
    """
    return [sys.executable, "-P", "-m", "tui.cli", *arguments]
