"""What the commands share: their arguments, and how a WS and a PROJ become what they stand for."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.settings import Settings
from replay.history import catalogue
from replay.history.catalogue import Folded
from replay.history.history import History
from replay.projection import reference
from replay.projection.declaration import over_all_events
from replay.projection.span import Span
from storage.errors import ProjectionError, QueryError, SourceError
from storage.ingest import provenance
from storage.ingest.io.fingerprints import Change
from storage.log import positions
from storage.timelines import workspace_view
from storage.workspace.workspace import MAIN, Workspace
from tui.cli.support import config_file, output, progress_display

if TYPE_CHECKING:
    from replay.query_projections.state_query import Looked

Command = TypeVar("Command", bound=Callable[..., Any])

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
        default=MAIN,
        show_default=True,
        help="The timeline: the log itself, or a fork.",
    )(command)


def open_workspace(
    ws: str, wait: float, timeline: str = MAIN, memory: int | None = None
) -> Workspace:
    """The workspace that WS stands for, on a timeline; a source is loaded into one, or what is new
    in it."""
    workspace = workspace_view.on(_opened(ws, wait, memory), timeline)
    if timeline != MAIN:
        output.show_places_of(workspace)
    return workspace


def _opened(ws: str, wait: float, memory: int | None) -> Workspace:
    path = Path(ws)
    wanted: dict[str, Any] = {"wait": wait, "on_wait": progress_display.waiting}
    if memory is not None:
        wanted["memory"] = memory
    if is_workspace(ws):
        workspace = Workspace(path, **wanted)
        for file, change in provenance.changes(workspace).items():
            _warn_of(file, change, workspace)
        return workspace
    from storage.ingest import loader, sources  # noqa: PLC0415 - a workspace needs none of the formats

    target = loader.default_target(ws)
    if not target.exists() or _is_behind(Workspace(target, **wanted), ws):
        try:
            with progress_display.loading(sources.known_as(ws)) as progress:
                loader.load([ws], target, loader.Wish(wait=wait), on_progress=progress)
        except SourceError as error:
            if not (target.exists() and sources.is_remote(ws)):
                raise
            progress_display.say(f"{error.message} The workspace is as it was loaded.")
    return Workspace(target, **wanted)


def states(
    workspace: Workspace,
    projection: str,
    python: str | None,
    first: int,
    last: int,
) -> "History | Looked":
    """What knows the states of PROJ at two positions.

    One that is a query over all events is asked there, where no history of it is kept.
    """
    if _names_code(projection) or config_file.find(projection, workspace.path) is not None:
        wanted = refer(projection, python, workspace)
        if over_all_events(wanted.text):
            kept = catalogue.find(workspace, wanted)
            known = kept is not None and kept.knows(first) and kept.knows(last)
            if kept is not None and known and kept.code_unchanged:
                return History(workspace, kept)
            from replay.query_projections.state_query import Looked  # noqa: PLC0415 - others need no Arrow

            return Looked(workspace, wanted)
    history = folded_history(workspace, projection, python)
    for position in (first, last):
        if history.folded.partial and not history.folded.knows(position):
            raise QueryError(
                f"{history.folded.label} has no states kept at offset {position:,}, only from"
                f" {history.folded.first - 1:,} to {history.folded.folded - 1:,}; name its file with -p."
            )
    return history


def folded_history(
    workspace: Workspace,
    projection: str,
    python: str | None = None,
    span: Span | None = None,
) -> History:
    """The history of PROJ, folded as far as the log goes, or over a span of it.

    A name that the workspace knows is enough to look at what was folded; it runs nothing, because
    the workspace may come from a stranger.
    """
    if not _names_code(projection) and config_file.find(projection, workspace.path) is None:
        folded = catalogue.by_name(workspace, projection)
        _warn_if_behind(workspace, folded)
        return History(workspace, folded)
    wanted = refer(projection, python, workspace)
    folded = fold(workspace, wanted, span=span)
    if span is None and over_all_events(wanted.text):
        _tell_of_span(workspace, folded)
    return History(workspace, folded)


def _tell_of_span(workspace: Workspace, folded: Folded) -> None:
    """Say of a projection over all events where its states are known, if not everywhere."""
    end = positions.resolve(workspace, "end")
    if folded.covers(Span(0, end)):
        return
    if folded.folded <= folded.first:
        raise QueryError(
            f"{folded.name} says nothing of what its documents depend on, so their states are known"
            " only where it is asked: give --from and --to, or declare 'own events of stream' in it"
            " if each depends on the events of its own stream only."
        )
    progress_display.say(
        f"{folded.label} was asked from {folded.first:,} to {folded.folded - 1:,}, and its states are"
        " known there only."
    )


def refer(
    projection: str,
    python: str | None = None,
    workspace: Workspace | None = None,
    settings: Settings | None = None,
) -> reference.Reference:
    """The projection that PROJ names, by its code or by a name in the workspace's `refold.toml`.

    It meets the outside by these settings, or by those of the `refold.toml`.
    """
    found = None
    if workspace is not None and not _names_code(projection):
        declarations = config_file.find(projection, workspace.path)
        if declarations is not None:
            found = declarations.reference(projection, python)
    if found is None:
        found = reference.parse(projection, python or catalogue.default_python(), Path.cwd())
    if settings is None and workspace is not None:
        settings = config_file.settings(workspace.path)
    context = click.get_current_context(silent=True)
    readable = None if context is None else context.meta.get(_READABLE)
    if readable is not None:
        found = replace(found, readable=readable)
    return found if settings is None else replace(found, settings=settings)


def runnable(projection: str, python: str | None, workspace: Workspace) -> reference.Reference:
    """The same, where code is about to run: a name that only the workspace knows is refused."""
    if not _names_code(projection) and config_file.find(projection, workspace.path) is None:
        names = {n for f in catalogue.known(workspace) for n in (f.name, f.label)}
        if projection in names:
            raise ProjectionError(
                f"{projection} names a history of {workspace.path}, and only code that you name"
                " is run; give its file with -p."
            )
    return refer(projection, python, workspace)


def folder_of(projection: str, workspace: Workspace) -> str:
    """The folder that PROJ is run in; nobody needs to agree to that."""
    declarations = None if _names_code(projection) else config_file.find(projection, workspace.path)
    return str(Path.cwd() if declarations is None else declarations.path.parent)


def fold(workspace: Workspace, wanted: reference.Reference, **wishes: Any) -> Folded:
    """Fold what is missing, with a progress bar."""
    from replay import fold as fold_module  # noqa: PLC0415 - looking at a history needs no fold

    with progress_display.folding(wanted.name) as progress:
        return fold_module.fold(workspace, wanted, on_progress=progress, **wishes)


def position(workspace: Workspace, text: str | None) -> int:
    """The offset of a POSITION; the end where none is given."""
    return positions.resolve(workspace, "end" if text is None else text)


def span(workspace: Workspace, start: str | None, end: str | None) -> Span | None:
    """The span of --from and --to; None where neither is given."""
    if start is None and end is None:
        return None
    first, last = (position(workspace, text) for text in (start or "0", end))
    if first > last:
        what = f"--from {start}" if start is not None else "the first event"
        raise click.UsageError(
            f"{what} is behind {f'--to {end}' if end is not None else 'the end'}."
        )
    return Span(max(first, 0), last)


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
    named = {sources.known_as(p) for p in sources.expand([ws])}
    if named - loaded:
        return True
    # Whether there is more elsewhere is known only by asking for it.
    return sources.is_remote(ws) or bool(provenance.changes(workspace, named, thorough=False))


def _is_duckdb(path: Path) -> bool:
    try:
        if not path.is_file():  # what is read from a pipe is gone
            return False
        with path.open("rb") as stream:
            return stream.read(12)[8:12] == b"DUCK"
    except OSError:
        return False


def _warn_of(file: str, change: Change, workspace: Workspace) -> None:
    if change is Change.GROWN:
        progress_display.say(
            f"{file} {change.value} since it was loaded; `refold load {file}` appends."
        )
    elif change is Change.REWRITTEN:
        progress_display.say(f"{file} {change.value} since it was loaded into {workspace.path}.")


def _warn_if_behind(workspace: Workspace, folded: Folded) -> None:
    end = positions.resolve(workspace, "end") + 1
    if folded.folded < end:
        progress_display.say(
            f"{folded.label} is folded up to offset {folded.folded - 1:,} of {end - 1:,};"
            " name its file with -p to fold the rest."
        )
    if not folded.may_read_files:
        progress_display.say(
            f"Whether the code of {folded.label} has changed is not known: {workspace.path} came from"
            f" elsewhere, and `refold trust {workspace.path}` lets refold read the files that it names."
        )
    elif not folded.code_unchanged:
        progress_display.say(f"The code of {folded.label} has changed since it was folded.")
    if not folded.answers_unchanged:
        progress_display.say(f"Recordings have changed since {folded.label} was folded.")


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
