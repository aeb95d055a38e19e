"""Options that commands share, and how WS and PROJ become a workspace and a projection."""

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
from storage.workspace.workspace_file import WorkspaceFile
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
        help="Let handlers read only this folder, their code and interpreter (Linux); repeatable."
        " Default for projections of a refold.toml: its folder. / allows everything.",
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


def states_between(
    workspace: Workspace,
    projection: str,
    python: str | None,
    first: int,
    last: int,
) -> "History | StateQuery":
    """Return the history or the query that gives the states of PROJ at two positions.

    A query over all events runs at both positions, unless its history holds both. Raises
    QueryError if the fold of PROJ covers only a part of the log without them.
    """
    choice = ProjectionChoice(workspace, projection, python)
    if choice.is_runnable:
        wanted = choice.build_reference()
        if is_over_all_events(wanted.text):
            record = catalogue.find_fold(workspace, wanted)
            known = (
                record is not None and record.has_states_at(first) and record.has_states_at(last)
            )
            if record is not None and known and record.is_code_unchanged:
                return History(workspace, record)
            from replay.query_projections.state_query import StateQuery  # noqa: PLC0415 - only a query over all events needs Arrow

            return StateQuery(workspace, wanted)
    history = _fold_chosen(workspace, choice)
    for position in (first, last):
        if history.fold_record.is_partial and not history.fold_record.has_states_at(position):
            raise QueryError(
                f"The history of {history.fold_record.label} has no states at offset {position:,},"
                f" only from {history.fold_record.first_offset - 1:,} to"
                f" {history.fold_record.next_offset - 1:,}. Give the projection's file with -p."
            )
    return history


def fold_history(
    workspace: Workspace,
    projection: str,
    python: str | None = None,
    span: OffsetSpan | None = None,
) -> History:
    """Return the history of PROJ, and fold what is missing first, or only a span of the log.

    If PROJ is only a name in the workspace, return the history as it is and run no code, because
    the workspace may come from a stranger.
    """
    return _fold_chosen(workspace, ProjectionChoice(workspace, projection, python), span)


def _fold_chosen(
    workspace: Workspace, choice: "ProjectionChoice", span: OffsetSpan | None = None
) -> History:
    if not choice.is_runnable:
        folded = catalogue.get_fold_by_name(workspace, choice.projection)
        _warn_if_behind(workspace, folded)
        return History(workspace, folded)
    wanted = choice.build_reference()
    folded = fold_missing(workspace, wanted, span=span)
    if span is None and is_over_all_events(wanted.text):
        _report_span(workspace, folded)
    return History(workspace, folded)


def _report_span(workspace: Workspace, folded: FoldRecord) -> None:
    """Print where the states of a query over all events are known, if not everywhere.

    Raises QueryError if they are known nowhere.
    """
    end = positions.resolve_position(workspace, "end")
    if folded.covers(OffsetSpan(0, end)):
        return
    if folded.next_offset <= folded.first_offset:
        raise QueryError(
            f"{folded.name} does not declare what its documents depend on, so refold must run it at"
            " each position. Give --from and --to, or declare 'own events of stream' in it if each"
            " document depends only on the events of its stream."
        )
    progress_display.print_message(
        f"{folded.label} ran from {folded.first_offset:,} to {folded.next_offset - 1:,};"
        " its states are known only there."
    )


class ProjectionChoice:
    """The projection that PROJ names: by its code, by a name in a `refold.toml`, or by a name that
    only the workspace knows. The files are read once."""

    def __init__(
        self,
        workspace: Workspace,
        projection: str,
        python: str | None = None,
        configs: config_file.NearbyConfigs | None = None,
    ) -> None:
        """`configs` are the files of the command if it has read them already."""
        self.projection = projection
        self._workspace = workspace
        self._python = python
        self._configs = configs or config_file.NearbyConfigs(workspace.path)
        self._declarations = (
            None if _names_code(projection) else self._configs.find_declaring(projection)
        )

    @property
    def is_runnable(self) -> bool:
        """Whether PROJ names code, directly or in a `refold.toml`. A workspace runs no code."""
        return _names_code(self.projection) or self._declarations is not None

    @property
    def folder(self) -> str:
        """The folder that it runs in."""
        return str(Path.cwd() if self._declarations is None else self._declarations.path.parent)

    def build_reference(
        self, settings: GatewaySettings | None = None
    ) -> projection_reference_module.Reference:
        """Return its reference; `settings` default to those of the `refold.toml`.

        Raises ProjectionError if the person didn't agree to the code or to the ports.
        """
        if self._declarations is None:
            found = _parse_code_reference(self.projection, self._python)
        else:
            found = _limit_readable(self._declarations.reference(self.projection, self._python))
        return replace(
            found,
            gateway_settings=self._configs.gateway_settings() if settings is None else settings,
        )

    def build_runnable_reference(self) -> projection_reference_module.Reference:
        """Return its reference to run it.

        Raises ProjectionError if only the workspace knows the name, because a workspace runs no code.
        """
        if not self.is_runnable:
            folds = catalogue.list_folds(self._workspace)
            if self.projection in {name for fold in folds for name in (fold.name, fold.label)}:
                raise ProjectionError(
                    f"{self.projection} names only a history of {self._workspace.path}, and refold"
                    " runs only code that you name. Give the projection's file with -p."
                )
        return self.build_reference()


def projection_reference(
    projection: str, python: str | None = None, workspace: Workspace | None = None
) -> projection_reference_module.Reference:
    """Return the projection that PROJ names, by its code or by a name in a `refold.toml`."""
    if workspace is None:
        return _parse_code_reference(projection, python)
    return ProjectionChoice(workspace, projection, python).build_reference()


def _parse_code_reference(
    projection: str, python: str | None
) -> projection_reference_module.Reference:
    return _limit_readable(
        projection_reference_module.parse_reference(
            projection, python or catalogue.default_python(), Path.cwd()
        )
    )


def _limit_readable(
    reference: projection_reference_module.Reference,
) -> projection_reference_module.Reference:
    """Return the reference with the folders of --readable, if the command has this option."""
    context = click.get_current_context(silent=True)
    readable = None if context is None else context.meta.get(_READABLE)
    return reference if readable is None else replace(reference, readable=readable)


def runnable_reference(
    projection: str, python: str | None, workspace: Workspace
) -> projection_reference_module.Reference:
    """Return the projection that PROJ names, to run it.

    Raises ProjectionError if only the workspace knows the name, because a workspace runs no code.
    """
    return ProjectionChoice(workspace, projection, python).build_runnable_reference()


def projection_folder(projection: str, workspace: Workspace) -> str:
    """Return the folder that PROJ runs in, without asking for consent."""
    return ProjectionChoice(workspace, projection).folder


def fold_missing(
    workspace: Workspace,
    wanted: projection_reference_module.Reference,
    span: OffsetSpan | None = None,
) -> FoldRecord:
    """Fold what is missing, with a progress bar, and return the record of the fold."""
    from replay.event_fold.fold_run import FoldCallbacks  # noqa: PLC0415 - as below
    from replay.fold import fold_projection  # noqa: PLC0415 - reading a history needs no fold

    with progress_display.fold_bar(wanted.name) as progress:
        return fold_projection(workspace, wanted, span=span, callbacks=FoldCallbacks(progress))


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


def _names_code(projection: str) -> bool:
    place = projection.partition(":")[0]
    return place.endswith((".py", ".sql")) or ":" in projection or "/" in projection


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


def _warn_if_behind(workspace: Workspace, folded: FoldRecord) -> None:
    end = positions.resolve_position(workspace, "end") + 1
    if folded.next_offset < end:
        progress_display.print_message(
            f"{folded.label} is folded up to offset {folded.next_offset - 1:,} of {end - 1:,}."
            " Give its file with -p to fold the rest."
        )
    if not folded.may_read_files:
        progress_display.print_message(
            f"refold can't tell if the code of {folded.label} has changed, because {workspace.path}"
            f" came from elsewhere. `refold trust {workspace.path}` lets refold read the files that it names."
        )
    elif not folded.is_code_unchanged:
        progress_display.print_message(
            f"The code of {folded.label} has changed since it was folded."
        )
    if not folded.are_recordings_unchanged:
        progress_display.print_message(f"Recordings have changed since {folded.label} was folded.")


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
