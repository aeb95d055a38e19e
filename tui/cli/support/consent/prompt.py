"""The question for consent at the terminal; without one, the error says how to agree."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from storage.errors import ProjectionError
from tui.cli.support.consent.agreements import agreed_digests, keep_agreement
from tui.cli.support.consent.item import ConsentItem
from tui.text.sanitize import sanitize_line


def require_consent(file: Path, list_items: Callable[[], Sequence[ConsentItem]]) -> None:
    """Return if the person agreed to all of these items of a file, or agrees to them now.

    refold lists only these items, so that agreeing to one never agrees to another.
    `list_items` is called again after the answer, because a file can change while the person reads.
    Raises `ProjectionError` if the person doesn't agree, or there is no terminal to ask at.
    """
    agreed = agreed_digests(file)
    items = [item for item in list_items() if item.digest not in agreed]
    if not items:
        return
    if not (os.isatty(0) and os.isatty(2)):
        listed = "; ".join(item.sentence for item in items)
        where = shlex.quote(str(file))
        raise ProjectionError(
            f"You have not agreed to this in {file}: {listed}. `refold trust --list {where}` lists"
            f" everything that the file names, and `refold trust {where}` agrees to it."
        )
    click.echo(sanitize_line(f"{file} names what needs your consent:"), err=True)
    for item in items:
        changed = " (changed since you agreed)" if item.name in agreed.values() else ""
        click.echo(sanitize_line(f"  {item.text}{changed}"), err=True)
    if not click.confirm("Allow this, now and later?", err=True):
        raise ProjectionError(f"You did not agree to {file}, so nothing was run.")
    now = {item.digest for item in list_items()}
    if not now >= {item.digest for item in items}:
        raise ProjectionError(
            f"A file that {file} names changed while you were asked, so nothing was run."
            " Run the command again."
        )
    keep_agreement(file, items, only=False)
