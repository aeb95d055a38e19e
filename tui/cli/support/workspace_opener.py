"""What WS names: a workspace, or a source that is loaded into one; and positions in it."""

from pathlib import Path
from typing import Any

import click

from replay.projection.offset_span import OffsetSpan
from storage.errors import SourceError
from storage.ingest import provenance
from storage.ingest.io.fingerprints import SourceChange
from storage.log import positions
from storage.timelines import forked_workspace
from storage.workspace.workspace import MAIN_TIMELINE, Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tui.cli.support import output, progress_display


def open_workspace(
    ws: str, wait: float, timeline: str = MAIN_TIMELINE, memory: int | None = None
) -> Workspace:
    """Return the workspace that WS names, on a timeline.

    If WS is a source, load it first, or append what is new in it. `memory` is in bytes.
    """
    workspace = forked_workspace.open_timeline(_open_or_load(ws, wait, memory), timeline)
    context = click.get_current_context(silent=True)
    if context is not None:  # several commands can run in one process, as in the tests
        context.call_on_close(workspace.main_workspace.release)
    if timeline != MAIN_TIMELINE:
        output.use_labels_of(workspace)
    return workspace


def _open_or_load(ws: str, wait: float, memory: int | None) -> Workspace:
    path = Path(ws)
    workspace_options: dict[str, Any] = {
        "wait_seconds": wait,
        "on_wait": progress_display.print_waiting,
    }
    if memory is not None:
        workspace_options["memory_bytes"] = memory
    if is_workspace(ws):
        workspace = WorkspaceFile(path, **workspace_options)
        for file, change in provenance.detect_source_changes(workspace).items():
            _warn_of_change(file, change, workspace)
        return workspace
    from storage.ingest import loader, sources  # noqa: PLC0415 - a workspace needs none of the formats

    target = loader.choose_default_target(ws)
    if not target.exists() or _is_behind(WorkspaceFile(target, **workspace_options), ws):
        try:
            with progress_display.load_bar(sources.stored_name(ws)) as progress:
                loader.load_source(
                    [ws], target, loader.LoadOptions(wait_seconds=wait), on_progress=progress
                )
        except SourceError as error:
            if not (target.exists() and sources.is_remote(ws)):
                raise
            progress_display.print_message(
                f"{error.message} The workspace stays as it was last loaded."
            )
    return WorkspaceFile(target, **workspace_options)


def is_workspace(ws: str) -> bool:
    """Return whether WS is a workspace, not a source."""
    return Path(ws).suffix == ".refold" or _is_duckdb(Path(ws))


def _is_behind(workspace: Workspace, ws: str) -> bool:
    """Return whether the source changed since it was loaded, or was never loaded."""
    from storage.ingest import sources  # noqa: PLC0415 - opening a workspace needs no readers

    with workspace.reading() as connection:
        loaded = {path for (path,) in connection.execute("SELECT path FROM sources").fetchall()}
    if sources.is_stream(ws):
        return True  # only reading it shows what it holds
    named = {sources.stored_name(p) for p in sources.expand_names([ws])}
    if named - loaded:
        return True
    # Only a request shows whether a remote source has more.
    return sources.is_remote(ws) or bool(
        provenance.detect_source_changes(workspace, named, reads_files=False)
    )


def _is_duckdb(path: Path) -> bool:
    try:
        if not path.is_file():  # reading from a pipe would consume its data
            return False
        with path.open("rb") as stream:
            return stream.read(12)[8:12] == b"DUCK"
    except OSError:
        return False


def _warn_of_change(file: str, change: SourceChange, workspace: Workspace) -> None:
    if change is SourceChange.GROWN:
        progress_display.print_message(
            f"{file} {change.value} since it was loaded; `refold load {file}` appends."
        )
    elif change is SourceChange.REWRITTEN:
        progress_display.print_message(
            f"{file} {change.value} since it was loaded into {workspace.path}."
        )


def parse_position(workspace: Workspace, text: str | None) -> int:
    """Return the offset of a POSITION; of the end if it is None."""
    return positions.resolve_position(workspace, "end" if text is None else text)


def parse_span(workspace: Workspace, start: str | None, end: str | None) -> OffsetSpan | None:
    """Return the span of --from and --to; None if neither is given."""
    if start is None and end is None:
        return None
    first, last = (parse_position(workspace, text) for text in (start or "0", end))
    if first > last:
        what = f"--from {start}" if start is not None else "the first event"
        raise click.UsageError(
            f"{what} comes after {f'--to {end}' if end is not None else 'the end'}."
        )
    return OffsetSpan(max(first, 0), last)
