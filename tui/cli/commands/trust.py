"""`refold trust`: list what a file can make run or reach, and agree to it without a terminal."""

from pathlib import Path

import click

from tui.cli.support import config_file, output
from tui.consent import Isolation, agreed_digests, keep_agreement, revoke_agreement
from tui.text.sanitize import printable


@click.command()
@click.argument(
    "file", metavar="FILE", type=click.Path(path_type=Path), default=Path(config_file.NAME)
)
@click.option("--list", "only_list", is_flag=True, help="List what it names; agree to nothing.")
@click.option("--revoke", is_flag=True, help="Forget every agreement to FILE.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of text.")
def trust(file: Path, only_list: bool, revoke: bool, as_json: bool) -> None:
    """Agree to all that a refold.toml can make run or reach, and list it by name.

    Only what is listed is agreed to. refold asks again when an entry or a file that it names changes.
    """
    if only_list and revoke:
        raise click.UsageError("Give --list or --revoke, not both.")
    if file.is_dir():
        file = file / config_file.NAME
    if revoke:
        _revoke(file.resolve())
        return
    found = config_file.read(file)
    items = found.consent_items()
    if not only_list:
        keep_agreement(found.path, items, only=True)
    agreed = agreed_digests(found.path)
    if as_json:
        output.lines(
            {
                "name": item.name,
                "action": item.action,
                "sandboxed": item.isolation is Isolation.SANDBOXED,
                "files": [file.path for file in item.files],
                "agreed": item.digest in agreed,
            }
            for item in items
        )
        return
    for item in items:
        mark = "" if item.digest in agreed else " - not agreed"
        click.echo(printable(f"{item.text}{mark}"))
    if not items:
        click.echo(printable(f"{found.path} names nothing that runs or is reached."), err=True)


def _revoke(file: Path) -> None:
    known = revoke_agreement(file)
    said = "Nothing of {} is agreed to any more." if known else "Nothing of {} was agreed to."
    click.echo(printable(said.format(file)), err=True)
