"""One fold, as the workspace and the person see it: what it may use, how far it is, its place.

Whatever folds is registered here as a projection of the workspace, tells here how far it has come,
and is stopped here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from replay.event_fold.history_writer import Recording
from replay.history import catalogue
from replay.projection import reference
from replay.projection.reference import Reference
from replay.worker_host.gateway_bridge import Calling
from storage.errors import CancelledError
from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class FoldProgress:
    """How far a fold has come."""

    folded: int
    events: int
    keys: int
    failures: int
    kept: int
    """Events whose states can be asked for."""


ROOM = 1 << 30
"""Bytes that documents may take where nothing else is said."""

OnProgress = Callable[[FoldProgress], None]


@dataclass(frozen=True)
class Means:
    """What a fold may use."""

    workers: int
    patience: float
    """Seconds for one event."""
    memory: int | None
    """Bytes for all workers; None: most of this machine's."""

    @property
    def room(self) -> int:
        """Bytes for all documents together, before they are folded share after share."""
        return ROOM if self.memory is None else self.memory * 7 // 10


class Run:
    """A projection on a timeline, while it is being folded."""

    def __init__(
        self,
        workspace: Workspace,
        wanted: Reference,
        total: int,
        means: Means,
        on_progress: OnProgress | None,
        cancelled: Callable[[], bool],
        calling: Calling,
    ) -> None:
        self.workspace = workspace
        self.wanted = wanted
        self.total = total
        """Events of the log."""
        self.means = means
        self.calling = calling
        self.cancelled = cancelled
        self.generation = workspace.file.generation
        """The workspace's generation whose events are folded; see `Workspace.generation`."""
        self.number = 0
        """Its row in `projections`, once it is registered."""
        self._on_progress = on_progress

    def register(self, ready: Mapping[str, Any], *, force: bool) -> Recording:
        """Its history, to be folded on; from the start where it is forced."""
        files, invariants = ready["files"], ready["invariants"]
        digest = reference.identity(files, ready["python"], self.wanted.settings)
        with self.workspace.writing(generation=self.generation) as connection:
            self.number = catalogue.register(
                connection, self.wanted, self.wanted.name, digest, files, invariants
            )
            if force:
                catalogue.forget(connection, self.number, self.workspace.timeline)
            recording = Recording(
                self.workspace,
                self.number,
                self.calling.version,
                self.calling.broker.redactor.text,
                generation=self.generation,
            )
            recording.resume(connection)
        return recording

    def progress(self, recording: Recording, *, done: int | None = None) -> None:
        """Tell how far it is, or how much is `done` otherwise; raises `CancelledError` where
        that is enough."""
        if self._on_progress is not None:
            self._on_progress(
                FoldProgress(
                    recording.folded if done is None else max(done, recording.folded),
                    self.total,
                    recording.keys,
                    recording.failures,
                    recording.kept,
                )
            )
        self.obey(recording)

    def stop_if_cancelled(self) -> None:
        """Stop if the person wants it, where nothing was kept yet."""
        if self.cancelled():
            raise CancelledError("Stopped; nothing of it was kept.")

    def obey(self, recording: Recording) -> None:
        """Stop if the person wants it."""
        if self.cancelled():
            raise CancelledError(
                f"Stopped at offset {recording.folded:,} of {self.total:,};"
                " what was folded is kept, and the next fold goes on from there."
            )

    def forget_surplus(self) -> None:
        """At the end, as what is to be seen first needn't wait for it."""
        with self.workspace.reading() as connection:
            surplus = catalogue.surplus(connection, self.number)
        if surplus:
            with self.workspace.writing(generation=self.generation) as connection:
                for number in catalogue.surplus(connection, self.number):
                    catalogue.forget(connection, number)
