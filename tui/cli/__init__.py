"""The command line. Standard output is data, standard error is narration.

The names, flags and JSON fields are a contract that scripts rely on. Exit codes: 0 fine, 1 the
answer is no, 2 the input or the command is wrong, 3 the projection can't be run, 4 interrupted.
"""

import atexit
import importlib
import os
import signal
import sys
from typing import Any

import click

_COMMANDS = {
    "demo": "tui.cli.commands.open:demo",
    "open": "tui.cli.commands.open:open_",
    "load": "tui.cli.commands.load:load",
    "events": "tui.cli.commands.inspect:events",
    "replay": "tui.cli.commands.replay:replay",
    "state": "tui.cli.commands.inspect:state",
    "diff": "tui.cli.commands.inspect:diff",
    "blame": "tui.cli.commands.query:blame",
    "find": "tui.cli.commands.query:find",
    "check": "tui.cli.commands.check:check",
    "values": "tui.cli.commands.query:values",
    "logpoint": "tui.cli.commands.query:logpoint",
    "causes": "tui.cli.commands.query:causes",
    "failures": "tui.cli.commands.inspect:failures",
    "unhandled": "tui.cli.commands.inspect:unhandled",
    "irregularities": "tui.cli.commands.inspect:irregularities",
    "printed": "tui.cli.commands.inspect:printed",
    "debug": "tui.cli.commands.debug:debug",
    "reproduce": "tui.cli.commands.reproduce:reproduce",
    "record": "tui.cli.commands.calls:record",
    "calls": "tui.cli.commands.calls:calls",
    "calls-import": "tui.cli.commands.calls:calls_import",
    "calls-export": "tui.cli.commands.calls:calls_export",
    "calls-assign": "tui.cli.commands.calls:calls_assign",
    "fork": "tui.cli.commands.fork:fork",
    "edit": "tui.cli.commands.fork:edit",
    "timelines": "tui.cli.commands.timelines:timelines",
    "compare": "tui.cli.commands.timelines:compare",
    "join": "tui.cli.commands.timelines:join",
    "sweep": "tui.cli.commands.sweep:sweep",
    "fork-export": "tui.cli.commands.export:fork_export",
    "fork-apply": "tui.cli.commands.export:fork_apply",
    "export": "tui.cli.commands.export:export",
    "remove": "tui.cli.commands.erase:remove",
    "migrate": "tui.cli.commands.migrate:migrate",
    "sql": "tui.cli.commands.inspect:sql",
    "protocol-test": "tui.cli.commands.protocol:protocol_test",
    "trust": "tui.cli.commands.trust:trust",
}


class _LazyCommandGroup(click.Group):
    """Imports a command when it is called, so that the screen's first paint waits for no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_LazyCommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="refold", prog_name="refold")
def cli() -> None:
    """A time-travel debugger for event-sourced systems.

    WS is a workspace (.refold) or any source; a source is loaded first. PROJ is a file
    (orders.py), a class or object in one (orders.py:Orders), module:Name, the command of
    a program (cmd:node orders.js), or a name from refold.toml. POSITION is 1200, 900+1, -1,
    50%, start, end, 2026-01-03T12:00, order-17@6 or id:….
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit; an error of ours is one sentence, never a traceback."""
    atexit.register(close_standard_error)
    _clean_up_when_ended()
    sys.exit(run_command(arguments))


def _clean_up_when_ended() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl+C does, so that no unfinished file is left.

    A signal that is ignored, as by nohup, stays ignored.
    """

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def close_standard_error() -> None:
    """All is said. What outlives the interpreter, as what a thread holds does, is counted by DuckDB's
    bindings on standard error."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


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
        # Whoever read the output has seen enough; the interpreter must not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from storage.errors import RefoldError  # noqa: PLC0415 - only an error needs it

        if isinstance(error, RefoldError):
            return _print_error(error.message, error.exit_code)
        if isinstance(error, RuntimeError) and "interrupted" in str(error):
            # What DuckDB makes of Ctrl+C in the middle of a query; its transaction is undone.
            return _print_error("Interrupted; what was kept before is kept.", 4)
        if os.environ.get("REFOLD_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.strerror:
            # A missing permission, a full disk, a limit: the system says what, and of which file.
            file = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            return _print_error(f"{file}{error.strerror}.", 2)
        return _print_error(_unexpected_error_text(error), 2)


class _OutputClosedError(Exception):
    """Nobody reads standard output any more, as click and rich put it: by leaving with 1."""


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
        f"Something that refold didn't expect: {type(error).__name__}: {summarize_error(error)}"
        " (set REFOLD_TRACEBACK=1 to see where, and please report it)."
    )
