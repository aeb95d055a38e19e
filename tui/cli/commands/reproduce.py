"""`refold reproduce`: export what someone else needs to reproduce a bug."""

from pathlib import Path

import click

from replay.export import reproduction
from tui.cli.support import options, output, progress_display, projection_resolver, workspace_opener


@click.command(
    epilog=options.example(
        "refold reproduce orders.jsonl -p orders_wrong.py --at 2376 \\", "--expect refunded=44.15"
    )
)
@options.workspace_argument
@options.projection_option
@click.option(
    "--at", "at", metavar="POSITION", required=True, help="The position at which the bug shows."
)
@click.option(
    "--key", "key", metavar="K", help="The document; default: the first that the event reaches."
)
@click.option(
    "--expect",
    "expected",
    metavar="PATH=JSON",
    multiple=True,
    help="The right value, such as refunded=44.15; PATH= if there should be none.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write; default: beside the workspace.",
)
@click.option("--replace", is_flag=True, help="Overwrite an earlier export.")
@options.timeline_option
@options.python_option
@options.wait_option
@options.json_option
def reproduce(
    ws: str,
    projection: str,
    at: str,
    key: str | None,
    expected: tuple[str, ...],
    folder: Path | None,
    replace: bool,
    timeline: str,
    python: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Export a document's events and a test that shows a bug.

    refold writes the events, a README and a pytest file, which runs without refold. The test
    asserts what you give with --expect; without --expect, that the handler doesn't raise or that
    the invariant holds, if that is what is wrong at the position.
    """
    wanted = [reproduction.parse_expectation(text) for text in expected]
    workspace = workspace_opener.open_workspace(ws, wait, timeline)
    history = projection_resolver.fold_history(workspace, projection, python)
    exported = reproduction.write_reproduction(
        history,
        workspace_opener.parse_position(workspace, at),
        key,
        cwd=projection_resolver.projection_folder(projection, workspace),
        expected=wanted,
        folder=folder,
        replace=replace,
    )
    for text in exported.already_met:
        progress_display.print_message(
            f"{text} already holds at {at}, so the test of it passes and shows no bug."
        )
    if as_json:
        output.print_document(
            {
                "folder": str(exported.folder),
                "key": exported.key,
                "events": exported.events,
                "test": str(exported.test),
                "asserts": list(exported.assertions),
            }
        )
    else:
        click.echo(str(exported.folder))
        progress_display.print_message(
            f"{exported.events:,} events; the test asserts: {'; '.join(exported.assertions)}."
        )
