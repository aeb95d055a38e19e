"""`refold trust`: list what a file can run or reach, and agree to it without a terminal."""

from pathlib import Path
from typing import Any

import click

from storage.errors import WorkspaceError
from storage.ingest.named_files import list_named_files
from storage.workspace import validation_cache
from storage.workspace.workspace_file import WorkspaceFile
from tui.cli.support import config_file, options, output, workspace_opener
from tui.cli.support.consent import Isolation, agreed_digests, keep_agreement, revoke_agreement
from tui.text.sanitize import sanitize_line


@click.command(
    epilog=options.example("refold load orders.jsonl", "refold trust --list orders.refold")
)
@click.argument(
    "file", metavar="FILE", type=click.Path(path_type=Path), default=Path(config_file.NAME)
)
@click.option("--list", "only_list", is_flag=True, help="Only list the entries; agree to nothing.")
@click.option("--revoke", is_flag=True, help="Revoke all agreements to FILE.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of text.")
def trust(file: Path, only_list: bool, revoke: bool, as_json: bool) -> None:
    """Agree to what a refold.toml can run or reach.

    refold lists every entry by name; you agree to these entries only. refold asks again when an
    entry changes, or a file that it names. FILE can also be a workspace that came from elsewhere:
    refold reads the files that it names only if you agree.
    """
    if only_list and revoke:
        raise click.UsageError("Give --list or --revoke, not both.")
    if workspace_opener.is_workspace(str(file)):
        rows = _workspace_rows(file, only_list=only_list, revoke=revoke)
    elif revoke:
        _revoke(file)
        return
    else:
        rows = _declared_rows(file, only_list=only_list)
    if as_json:
        output.print_json_lines(row for row, _ in rows)
        return
    for row, text in rows:
        click.echo(sanitize_line(f"{text}{'' if row['agreed'] else ' - not agreed'}"))
    if not rows:
        click.echo(sanitize_line(f"{file} names nothing that runs or is reached."), err=True)


def _declared_rows(file: Path, *, only_list: bool) -> list[tuple[dict[str, Any], str]]:
    """Return the entries of a `refold.toml`, each as a JSON row and as text."""
    found = config_file.read_config(file / config_file.NAME if file.is_dir() else file)
    items = found.consent_items()
    if not only_list:
        keep_agreement(found.path, items, only=True)
    agreed = agreed_digests(found.path)
    return [
        (
            {
                "name": item.name,
                "action": item.action,
                "sandboxed": item.isolation is Isolation.SANDBOXED,
                "files": [file.path for file in item.files],
                "agreed": item.digest in agreed,
            },
            item.text,
        )
        for item in items
    ]


def _workspace_rows(
    file: Path, *, only_list: bool, revoke: bool
) -> list[tuple[dict[str, Any], str]]:
    """Return the files that a workspace names, each as a JSON row and as text."""
    workspace = WorkspaceFile(file)
    named = list_named_files(workspace)
    workspace.close()
    if not only_list:
        identity = validation_cache.read_identity(file)
        if identity is None or not validation_cache.is_validated(file):
            raise WorkspaceError(f"{file} changed while it was read; run the command again.")
        validation_cache.mark_validated(file, identity, own=not revoke)
    agreed = validation_cache.is_own(file)
    return [
        (
            {
                "name": kind,
                "action": "is read",
                "sandboxed": False,
                "files": [path],
                "agreed": agreed,
            },
            f"reads the {kind} {path}",
        )
        for kind, path in named
    ]


def _revoke(file: Path) -> None:
    path = (file / config_file.NAME if file.is_dir() else file).resolve()
    known = revoke_agreement(path)
    message = "Nothing of {} is agreed to any more." if known else "Nothing of {} was agreed to."
    click.echo(sanitize_line(message.format(path)), err=True)
