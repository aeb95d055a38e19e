"""`refold reproduce`: export what is needed to show a finding."""

from pathlib import Path

import click

from replay.export import reproduction
from tui.cli.support import options, output, progress_display


@click.command()
@options.workspace_argument
@options.projection_option
@click.option("--at", "at", metavar="POSITION", required=True, help="Where it shows.")
@click.option("--key", "key", metavar="K", help="The document; else the event's first.")
@click.option(
    "--expect",
    "expected",
    metavar="PATH=JSON",
    multiple=True,
    help="A value that should be there, as refunded=44.15; PATH= for none.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to; else beside the workspace.",
)
@click.option("--replace", is_flag=True, help="Write over what was exported there before.")
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
    """Export a finding: the document's events, how to look at it, and a pytest file.

    The test runs without refold. It says that the handler doesn't raise, or that the invariant
    holds, if that is what is wrong at the position; else what --expect says.
    """
    wanted = [reproduction.parse_expectation(text) for text in expected]
    workspace = options.open_workspace(ws, wait, timeline)
    history = options.fold_history(workspace, projection, python)
    exported = reproduction.write_reproduction(
        history,
        options.parse_position(workspace, at),
        key,
        cwd=options.projection_folder(projection, workspace),
        expected=wanted,
        folder=folder,
        replace=replace,
    )
    for text in exported.already_met:
        progress_display.print_message(
            f"{text} at {at} already, so that doesn't show what is wrong."
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
            f"{exported.events:,} events; the test says: {'; '.join(exported.assertions)}."
        )
