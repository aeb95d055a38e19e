"""Rich consoles of the command line."""

from rich.console import Console


class PipeConsole(Console):
    """A console that raises `BrokenPipeError` when its reader is gone; Rich would exit."""

    def on_broken_pipe(self) -> None:
        """Raise the error again; Rich calls this while it handles it."""
        raise  # noqa: PLE0704 - called inside the `except` of Rich
