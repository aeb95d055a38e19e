"""What the commands share: their arguments, and how a WS and a PROJ become what they stand for."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.settings import GatewaySettings
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection import projection_reference as projection_reference_module
from replay.projection.declaration import is_over_all_events
from replay.projection.offset_span import OffsetSpan
from storage.errors import ProjectionError, QueryError, SourceError
from storage.ingest import provenance
from storage.ingest.io.fingerprints import SourceChange
from storage.log import positions
from storage.timelines import forked_workspace
from storage.workspace.workspace import MAIN_TIMELINE, Workspace
from tui.cli.support import config_file, output, progress_display

if TYPE_CHECKING:
    from replay.query_projections.state_query import StateQuery

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
    "--from", "start", metavar="POSITION", help="From this event on; the first if left out."
)
to_option = click.option(
    "--to", "end", metavar="POSITION", help="Up to this event; the last if left out."
)
at_option = click.option("--at", "at", metavar="POSITION", default=None, help="Where time stands.")
key_option = click.option("--key", "key", metavar="K", default=None, help="One document only.")
limit_option = click.option(
    "--limit",
    type=click.IntRange(0),
    callback=lambda _, __, value: None if value is None else min(value, 10**15),
    metavar="N",
    help="The first so many only.",
)
wait_option = click.option(
    "--wait",
    "wait",
    metavar="SECONDS",
    type=float,
    default=30.0,
    show_default=True,
    help="How long to wait for another process that writes.",
)
config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where ports and overrides are declared; refold.toml if left out.",
)
_READABLE = "refold.readable"
"""Where a command's context holds the folders of --read-only-below."""


def _keep_readable(context: click.Context, _: click.Parameter, value: tuple[Path, ...]) -> None:
    context.meta[_READABLE] = tuple(str(path.resolve()) for path in value) or None


def python_option(command: Command) -> Command:
    """What a command that starts workers says of them: the interpreter, and what code may read."""
    command = click.option(
        "--python",
        "python",
        metavar="EXE",
        default=None,
        help="The interpreter that runs the fold.",
    )(command)
    return click.option(
        "--read-only-below",
        multiple=True,
        expose_value=False,
        callback=_keep_readable,
        type=click.Path(exists=True, path_type=Path),
        metavar="DIR",
        help="Let handlers read this folder and what they run on, nothing else (Linux); can be repeated."
        " The default for projections of a refold.toml is its folder; / allows everything.",
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


def open_workspace(
    ws: str, wait: float, timeline: str = MAIN_TIMELINE, memory: int | None = None
) -> Workspace:
    """The workspace that WS stands for, on a timeline; a source is loaded into one, or what is new
    in it."""
    workspace = forked_workspace.open_timeline(_open_or_load(ws, wait, memory), timeline)
    if timeline != MAIN_TIMELINE:
        output.use_labels_of(workspace)
    return workspace


def _open_or_load(ws: str, wait: float, memory: int | None) -> Workspace:
    path = Path(ws)
    wanted: dict[str, Any] = {"wait_seconds": wait, "on_wait": progress_display.print_waiting}
    if memory is not None:
        wanted["memory_bytes"] = memory
    if is_workspace(ws):
        workspace = Workspace(path, **wanted)
        for file, change in provenance.detect_source_changes(workspace).items():
            _warn_of_change(file, change, workspace)
        return workspace
    from storage.ingest import loader, sources  # noqa: PLC0415 - a workspace needs none of the formats

    target = loader.choose_default_target(ws)
    if not target.exists() or _is_behind(Workspace(target, **wanted), ws):
        try:
            with progress_display.load_bar(sources.stored_name(ws)) as progress:
                loader.load_source(
                    [ws], target, loader.LoadOptions(wait_seconds=wait), on_progress=progress
                )
        except SourceError as error:
            if not (target.exists() and sources.is_remote(ws)):
                raise
            progress_display.print_message(f"{error.message} The workspace is as it was loaded.")
    return Workspace(target, **wanted)


def states_between(
    workspace: Workspace,
    projection: str,
    python: str | None,
    first: int,
    last: int,
) -> "History | StateQuery":
    """What knows the states of PROJ at two positions.

    One that is a query over all events is asked there, where no history of it is kept.
    """
    if (
        _names_code(projection)
        or config_file.find_config_for(projection, workspace.path) is not None
    ):
        wanted = projection_reference(projection, python, workspace)
        if is_over_all_events(wanted.text):
            kept = catalogue.find_fold(workspace, wanted)
            known = kept is not None and kept.has_states_at(first) and kept.has_states_at(last)
            if kept is not None and known and kept.is_code_unchanged:
                return History(workspace, kept)
            from replay.query_projections.state_query import StateQuery  # noqa: PLC0415 - others need no Arrow

            return StateQuery(workspace, wanted)
    history = fold_history(workspace, projection, python)
    for position in (first, last):
        if history.fold_record.is_partial and not history.fold_record.has_states_at(position):
            raise QueryError(
                f"{history.fold_record.label} has no states kept at offset {position:,}, only from"
                f" {history.fold_record.first_offset - 1:,} to"
                f" {history.fold_record.next_offset - 1:,}; name its file with -p."
            )
    return history


def fold_history(
    workspace: Workspace,
    projection: str,
    python: str | None = None,
    span: OffsetSpan | None = None,
) -> History:
    """The history of PROJ, folded as far as the log goes, or over a span of it.

    A name that the workspace knows is enough to look at what was folded; it runs nothing, because
    the workspace may come from a stranger.
    """
    if (
        not _names_code(projection)
        and config_file.find_config_for(projection, workspace.path) is None
    ):
        folded = catalogue.get_fold_by_name(workspace, projection)
        _warn_if_behind(workspace, folded)
        return History(workspace, folded)
    wanted = projection_reference(projection, python, workspace)
    folded = fold_missing(workspace, wanted, span=span)
    if span is None and is_over_all_events(wanted.text):
        _report_span(workspace, folded)
    return History(workspace, folded)


def _report_span(workspace: Workspace, folded: FoldRecord) -> None:
    """Say of a projection over all events where its states are known, if not everywhere."""
    end = positions.resolve_position(workspace, "end")
    if folded.covers(OffsetSpan(0, end)):
        return
    if folded.next_offset <= folded.first_offset:
        raise QueryError(
            f"{folded.name} says nothing of what its documents depend on, so their states are known"
            " only where it is asked: give --from and --to, or declare 'own events of stream' in it"
            " if each depends on the events of its own stream only."
        )
    progress_display.print_message(
        f"{folded.label} was asked from {folded.first_offset:,} to {folded.next_offset - 1:,},"
        " and its states are"
        " known there only."
    )


def projection_reference(
    projection: str,
    python: str | None = None,
    workspace: Workspace | None = None,
    settings: GatewaySettings | None = None,
) -> projection_reference_module.Reference:
    """The projection that PROJ names, by its code or by a name in the workspace's `refold.toml`.

    It meets the outside by these settings, or by those of the `refold.toml`.
    """
    found = None
    if workspace is not None and not _names_code(projection):
        declarations = config_file.find_config_for(projection, workspace.path)
        if declarations is not None:
            found = declarations.reference(projection, python)
    if found is None:
        found = projection_reference_module.parse_reference(
            projection, python or catalogue.default_python(), Path.cwd()
        )
    if settings is None and workspace is not None:
        settings = config_file.gateway_settings(workspace.path)
    context = click.get_current_context(silent=True)
    readable = None if context is None else context.meta.get(_READABLE)
    if readable is not None:
        found = replace(found, readable=readable)
    return found if settings is None else replace(found, gateway_settings=settings)


def runnable_reference(
    projection: str, python: str | None, workspace: Workspace
) -> projection_reference_module.Reference:
    """The same, where code is about to run: a name that only the workspace knows is refused."""
    if (
        not _names_code(projection)
        and config_file.find_config_for(projection, workspace.path) is None
    ):
        names = {n for f in catalogue.list_folds(workspace) for n in (f.name, f.label)}
        if projection in names:
            raise ProjectionError(
                f"{projection} names a history of {workspace.path}, and only code that you name"
                " is run; give its file with -p."
            )
    return projection_reference(projection, python, workspace)


def projection_folder(projection: str, workspace: Workspace) -> str:
    """The folder that PROJ is run in; nobody needs to agree to that."""
    declarations = (
        None if _names_code(projection) else config_file.find_config_for(projection, workspace.path)
    )
    return str(Path.cwd() if declarations is None else declarations.path.parent)


def fold_missing(
    workspace: Workspace, wanted: projection_reference_module.Reference, **wishes: Any
) -> FoldRecord:
    """Fold what is missing, with a progress bar."""
    from replay.fold import fold_projection  # noqa: PLC0415 - looking at a history needs no fold

    with progress_display.fold_bar(wanted.name) as progress:
        return fold_projection(workspace, wanted, on_progress=progress, **wishes)


def parse_position(workspace: Workspace, text: str | None) -> int:
    """The offset of a POSITION; the end where none is given."""
    return positions.resolve_position(workspace, "end" if text is None else text)


def parse_span(workspace: Workspace, start: str | None, end: str | None) -> OffsetSpan | None:
    """The span of --from and --to; None where neither is given."""
    if start is None and end is None:
        return None
    first, last = (parse_position(workspace, text) for text in (start or "0", end))
    if first > last:
        what = f"--from {start}" if start is not None else "the first event"
        raise click.UsageError(
            f"{what} is behind {f'--to {end}' if end is not None else 'the end'}."
        )
    return OffsetSpan(max(first, 0), last)


def _names_code(projection: str) -> bool:
    place = projection.partition(":")[0]
    return place.endswith((".py", ".sql")) or ":" in projection or "/" in projection


def is_workspace(ws: str) -> bool:
    """Whether WS is a workspace, and no source."""
    return Path(ws).suffix == ".refold" or _is_duckdb(Path(ws))


def _is_behind(workspace: Workspace, ws: str) -> bool:
    """Whether the source has changed since it was loaded, or isn't what was loaded at all."""
    from storage.ingest import sources  # noqa: PLC0415 - a workspace is opened without what reads sources

    with workspace.reading() as connection:
        loaded = {path for (path,) in connection.execute("SELECT path FROM sources").fetchall()}
    if sources.is_stream(ws):
        return True  # what it holds is known only by reading it
    named = {sources.stored_name(p) for p in sources.expand_names([ws])}
    if named - loaded:
        return True
    # Whether there is more elsewhere is known only by asking for it.
    return sources.is_remote(ws) or bool(
        provenance.detect_source_changes(workspace, named, reads_files=False)
    )


def _is_duckdb(path: Path) -> bool:
    try:
        if not path.is_file():  # what is read from a pipe is gone
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


def _warn_if_behind(workspace: Workspace, folded: FoldRecord) -> None:
    end = positions.resolve_position(workspace, "end") + 1
    if folded.next_offset < end:
        progress_display.print_message(
            f"{folded.label} is folded up to offset {folded.next_offset - 1:,} of {end - 1:,};"
            " name its file with -p to fold the rest."
        )
    if not folded.may_read_files:
        progress_display.print_message(
            f"Whether the code of {folded.label} has changed is not known: {workspace.path} came from"
            f" elsewhere, and `refold trust {workspace.path}` lets refold read the files that it names."
        )
    elif not folded.is_code_unchanged:
        progress_display.print_message(
            f"The code of {folded.label} has changed since it was folded."
        )
    if not folded.are_recordings_unchanged:
        progress_display.print_message(f"Recordings have changed since {folded.label} was folded.")


def parse_pairs(pairs: Sequence[str], option: str = "--map") -> dict[str, str]:
    """FIELD=COLUMN pairs, or such of another option."""
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
