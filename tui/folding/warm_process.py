"""A waiting process that has loaded a projection, so that its next fold starts at once."""

from replay.projection.projection_reference import Reference
from storage.workspace.workspace import Workspace
from tui.folding.fold_process import FoldMessage, FoldProcess


class WarmProcess:
    """Holds at most one waiting process."""

    def __init__(self) -> None:
        self.fold: FoldProcess | None = None
        """The waiting process."""
        self._wanted: Reference | None = None

    def start(self, workspace: Workspace, wanted: Reference) -> None:
        """Start a process for this projection, unless one waits already."""
        if not self._waits_for(wanted):
            if self.fold is not None:
                self.fold.cancel()
            self._wanted = wanted
            self.fold = FoldProcess(workspace, wanted, _ignore_message, force=False, standby=True)

    def take(self, wanted: Reference) -> FoldProcess | None:
        """Hand over the process that waits for this projection; None if none does."""
        if not self._waits_for(wanted):
            return None
        fold, self.fold = self.fold, None
        return fold

    def _waits_for(self, wanted: Reference) -> bool:
        return self.fold is not None and self.fold.is_alive and self._wanted == wanted

    def close(self) -> None:
        """Stop the waiting process."""
        if self.fold is not None:
            self.fold.close()
            self.fold = None


def _ignore_message(told: FoldMessage) -> None:
    """Receive messages of a process that waits."""
