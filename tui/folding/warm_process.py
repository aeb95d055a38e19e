"""A process at hand that has all of a projection loaded, and waits to be told to fold it."""

from replay.projection.projection_reference import Reference
from storage.workspace.workspace import Workspace
from tui.folding.fold_process import FoldMessage, FoldProcess


class WarmProcess:
    """At most one such process."""

    def __init__(self) -> None:
        self.fold: FoldProcess | None = None
        """The one that waits."""
        self._wanted: Reference | None = None

    def start(self, workspace: Workspace, wanted: Reference) -> None:
        """Have one wait for this projection, where none does."""
        if not self._waits_for(wanted):
            if self.fold is not None:
                self.fold.cancel()
            self._wanted = wanted
            self.fold = FoldProcess(workspace, wanted, _ignore_message, force=False, standby=True)

    def take(self, wanted: Reference) -> FoldProcess | None:
        """The one that waits for this projection, which then is whose it is given to."""
        if not self._waits_for(wanted):
            return None
        fold, self.fold = self.fold, None
        return fold

    def _waits_for(self, wanted: Reference) -> bool:
        return self.fold is not None and self.fold.is_alive and self._wanted == wanted

    def close(self) -> None:
        """End it."""
        if self.fold is not None:
            self.fold.close()
            self.fold = None


def _ignore_message(told: FoldMessage) -> None:
    """Who is told by a process that waits."""
