"""The command line. Standard output is data, standard error is progress and messages.

Scripts rely on the names, options and JSON fields: add to them, and rename none. Exit codes: 0 fine, 1 the
answer is no, 2 the input or the command is wrong, 3 the projection can't be run, 4 interrupted.
"""

import importlib
import os
import signal
import sys
from typing import Any

import click

from tui.cli.command_table import COMMANDS, GROUPS


class _LazyCommandGroup(click.Group):
    """Imports a command's module when the command runs, so that the screen paints early."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"tui.cli.commands.{entry.module}")
        command: click.Command = getattr(module, entry.function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """List the commands by group, with the summaries of the table."""
        width = max(map(len, COMMANDS))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{n:{width}}", one.summary) for n, one in commands.items()])


@click.group(
    cls=_LazyCommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`refold COMMAND --help` lists the options of a command and shows an example.",
)
@click.version_option(package_name="refold", prog_name="refold")
def cli() -> None:
    """A time-travel debugger for event-sourced systems.

    WS is a workspace (.refold) or any source; refold loads a source first. PROJ is a file
    (orders.py), a class or object in one (orders.py:Orders), module:Name, the command of
    a program (cmd:node orders.js), or a name from refold.toml. POSITION is 1200, 900+1, -1,
    50%, start, end, 2026-01-03T12:00, order-17@6 or id:….
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit. An error is one sentence, never a traceback of refold."""
    _clean_up_when_ended()
    sys.exit(run_command(arguments))


def _clean_up_when_ended() -> None:
    """Let SIGTERM and SIGHUP end a command like Ctrl+C, which leaves no unfinished file.

    A signal that the caller ignores stays ignored, because nohup relies on that.
    """

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the command at once
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def run_command(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        result: Any = _invoke(arguments)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())  # noqa: T201 - help is data
        return 2
    except click.ClickException as error:
        error.show(sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _print_error("Interrupted.", 4)
    except (BrokenPipeError, _OutputClosedError):
        # The reader closed the pipe (as `head` does); the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from storage.errors import RefoldError  # noqa: PLC0415 - only an error needs it

        if isinstance(error, RefoldError):
            return _print_error(error.message, error.exit_code)
        if isinstance(error, RuntimeError) and "interrupted" in str(error):
            # DuckDB raises this for Ctrl+C during a query, and rolls the transaction back.
            return _print_error("Interrupted. Nothing that was saved before is lost.", 4)
        if os.environ.get("REFOLD_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.strerror:
            # A missing permission, a full disk, a limit: the system's message names the cause.
            file = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            return _print_error(f"{file}{error.strerror}.", 2)
        return _print_error(_unexpected_error_text(error), 2)


class _OutputClosedError(Exception):
    """Standard output was closed: click and rich report that by exiting with code 1."""


def _invoke(arguments: list[str] | None) -> Any:
    try:
        return cli.main(arguments, prog_name="refold", standalone_mode=False)
    except SystemExit as error:
        raise _OutputClosedError from error


def _print_error(message: str, code: int) -> int:
    from tui.text.sanitize import sanitize_line  # noqa: PLC0415 - only an error needs it

    sys.stdout.flush()
    print(f"refold: {sanitize_line(message)}", file=sys.stderr)  # noqa: T201 - narration
    return code


def _unexpected_error_text(error: Exception) -> str:
    from storage.errors import summarize_error  # noqa: PLC0415 - only an error needs it

    return (
        f"Unexpected error: {type(error).__name__}: {summarize_error(error)}."
        " Set REFOLD_TRACEBACK=1 to see where it occurred, and please report it."
    )
