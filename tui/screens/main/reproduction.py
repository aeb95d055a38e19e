"""Exporting a reproduction of what is looked at, from the screen; asked in a thread."""

from pathlib import Path

from replay.projection.projection_reference import Reference
from storage.errors import QueryError
from storage.plural import format_count
from tui.state.session import Session


def export_reproduction(
    model: Session, wanted: Reference | None, position: int, key: str | None
) -> str:
    """Export into a folder beside the workspace, and say where; raises a `RefoldError`.

    The handlers that raised at this position count, whichever document is looked at.
    """
    from replay.export import reproduction  # noqa: PLC0415 - the screen's first paint need not wait for Arrow

    history = model.history
    if history is None:
        raise QueryError("There is nothing to reproduce without a projection; name one with -p.")
    failed = [failure.key for failure in history.failures_at(position)]
    exported = reproduction.write_reproduction(
        history,
        position,
        None if failed and key not in failed else key,
        cwd=wanted.cwd if wanted is not None else str(Path.cwd()),
        without_test=True,
    )
    said = f"Exported {format_count(exported.events, 'event')} to {exported.folder}"
    if exported.test is None:
        return f"{said}; no test, as nothing says what should be there (refold reproduce --expect)."
    return f"{said}; {exported.test.name} says: {'; '.join(exported.assertions)}."
