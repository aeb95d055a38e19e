"""Arguments and options that commands share."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from storage.workspace.workspace import MAIN_TIMELINE

Command = TypeVar("Command", bound=Callable[..., Any])


def example(*lines: str) -> str:
    """Return the end of a command's help: an example that works on the sample log of orders."""
    return "\n".join(("\b", "Example, in sample_logs/orders:", *(f"  {line}" for line in lines)))


workspace_argument = click.argument("ws", metavar="WS")
projection_option = click.option(
    "-p", "--projection", "projection", metavar="PROJ", required=True, help="The projection."
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
from_option = click.option(
    "--from", "start", metavar="POSITION", help="From this event on; default: the first."
)
to_option = click.option(
    "--to", "end", metavar="POSITION", help="Up to this event; default: the last."
)
at_option = click.option(
    "--at", "at", metavar="POSITION", default=None, help="The position; default: the end."
)
key_option = click.option("--key", "key", metavar="K", default=None, help="One document only.")
limit_option = click.option(
    "--limit",
    type=click.IntRange(0),
    callback=lambda _, __, value: None if value is None else min(value, 10**15),
    metavar="N",
    help="Only the first N.",
)
wait_option = click.option(
    "--wait",
    "wait",
    metavar="SECONDS",
    type=float,
    default=30.0,
    show_default=True,
    help="How long to wait while another process writes.",
)
config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file that declares ports and overrides; default: refold.toml.",
)
_READABLE = "refold.readable"
"""The key of --read-only-below in a command's context."""


def _keep_readable(context: click.Context, _: click.Parameter, value: tuple[Path, ...]) -> None:
    context.meta[_READABLE] = tuple(str(path.resolve()) for path in value) or None


def readable_folders() -> tuple[str, ...] | None:
    """Return the folders of --read-only-below of the running command; None if it has none."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_READABLE)


def python_option(command: Command) -> Command:
    """Add the options of commands that start workers: --python and --read-only-below."""
    command = click.option(
        "--python",
        "python",
        metavar="EXE",
        default=None,
        help="The Python interpreter that runs the projection.",
    )(command)
    return click.option(
        "--read-only-below",
        multiple=True,
        expose_value=False,
        callback=_keep_readable,
        type=click.Path(exists=True, path_type=Path),
        metavar="DIR",
        help="Let handlers and decoders read only this folder, their code and interpreter (Linux);"
        " repeatable. Default for the code of a refold.toml: its folder. / allows everything.",
    )(command)


def timeline_option(command: Command) -> Command:
    return click.option(
        "--timeline",
        "timeline",
        metavar="T",
        default=MAIN_TIMELINE,
        show_default=True,
        help="The timeline: the log itself, or a fork.",
    )(command)


def parse_pairs(pairs: Sequence[str], option: str = "--map") -> dict[str, str]:
    """Return the FIELD=COLUMN pairs of --map, or those of another option, as a dict."""
    found = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals or not name or not column:
            wanted = "FIELD=COLUMN" if option == "--map" else "FIELD=HOW"
            raise click.BadParameter(f"{pair!r} is not {wanted}", param_hint=option)
        found[name] = column
    return found


def is_terminal() -> bool:
    return sys.stdout.isatty() and sys.stdin.isatty()
