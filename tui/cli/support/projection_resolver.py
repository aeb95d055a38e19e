"""What PROJ names: the projection's code, or its history in the workspace, folded first if it can be."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.settings import GatewaySettings
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection import projection_reference
from replay.projection.declaration import is_over_all_events
from replay.projection.offset_span import OffsetSpan
from storage.errors import ProjectionError, QueryError
from storage.log import positions
from storage.workspace.workspace import Workspace
from tui.cli.support import config_file, options, progress_display

if TYPE_CHECKING:
    from replay.query_projections.state_query import StateQuery


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
    ) -> projection_reference.Reference:
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

    def build_runnable_reference(self) -> projection_reference.Reference:
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


def resolve_projection(
    projection: str, python: str | None = None, workspace: Workspace | None = None
) -> projection_reference.Reference:
    """Return the projection that PROJ names, by its code or by a name in a `refold.toml`."""
    if workspace is None:
        return _parse_code_reference(projection, python)
    return ProjectionChoice(workspace, projection, python).build_reference()


def _parse_code_reference(projection: str, python: str | None) -> projection_reference.Reference:
    return _limit_readable(
        projection_reference.parse_reference(
            projection, python or catalogue.default_python(), Path.cwd()
        )
    )


def _limit_readable(
    reference: projection_reference.Reference,
) -> projection_reference.Reference:
    """Return the reference with the folders of --read-only-below, if the command has this option."""
    readable = options.readable_folders()
    return reference if readable is None else replace(reference, readable=readable)


def resolve_runnable_projection(
    projection: str, python: str | None, workspace: Workspace
) -> projection_reference.Reference:
    """Return the projection that PROJ names, to run it.

    Raises ProjectionError if only the workspace knows the name, because a workspace runs no code.
    """
    return ProjectionChoice(workspace, projection, python).build_runnable_reference()


def projection_folder(projection: str, workspace: Workspace) -> str:
    """Return the folder that PROJ runs in, without asking for consent."""
    return ProjectionChoice(workspace, projection).folder


def fold_missing(
    workspace: Workspace,
    wanted: projection_reference.Reference,
    span: OffsetSpan | None = None,
) -> FoldRecord:
    """Fold what is missing, with a progress bar, and return the record of the fold."""
    from replay.event_fold.fold_run import FoldCallbacks  # noqa: PLC0415 - reading a history needs no fold
    from replay.fold import fold_projection  # noqa: PLC0415 - reading a history needs no fold

    with progress_display.fold_bar(wanted.name) as progress:
        return fold_projection(workspace, wanted, span=span, callbacks=FoldCallbacks(progress))


def _names_code(projection: str) -> bool:
    place = projection.partition(":")[0]
    return place.endswith((".py", ".sql")) or ":" in projection or "/" in projection


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
