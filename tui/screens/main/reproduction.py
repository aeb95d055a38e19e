"""Export of a reproduction from the screen."""

from pathlib import Path

from replay.projection.projection_reference import Reference
from storage.errors import QueryError
from storage.plural import format_count
from tui.state.shown_data import ShownData


def export_reproduction(
    data: ShownData, wanted: Reference | None, position: int, key: str | None
) -> str:
    """Export a reproduction into a folder beside the workspace; return a message with its path.

    If handlers raised at the position, their documents take precedence over `key`. Call it in a
    thread. Raises a `RefoldError` if the export fails.
    """
    from replay.export import reproduction  # noqa: PLC0415 - it imports Arrow, which would delay the first paint

    history = data.history
    if history is None:
        raise QueryError("No projection to reproduce. Start refold with one: -p FILE.")
    failed = [failure.key for failure in history.failures_at(position)]
    exported = reproduction.write_reproduction(
        history,
        position,
        None if failed and key not in failed else key,
        cwd=wanted.cwd if wanted is not None else str(Path.cwd()),
        without_test=True,
    )
    summary = f"Exported {format_count(exported.events, 'event')} to {exported.folder}"
    if exported.test is None:
        return f"{summary}, without a test. To add one: refold reproduce --expect."
    return f"{summary}; {exported.test.name} asserts: {'; '.join(exported.assertions)}."
