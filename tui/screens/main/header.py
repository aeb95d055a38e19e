"""The path in the header: workspace, timeline, projection."""

from replay.projection.projection_reference import Reference
from tui.state.shown_data import ShownData


def describe_path(data: ShownData, reference: Reference | None) -> list[str]:
    """Return the parts of the path; `reference` is the projection before its first fold."""
    parts = [data.workspace.path.stem, data.workspace.timeline]
    if data.history is not None:
        folded = data.history.fold_record
        parts.append(f"{folded.label} WHAT-IF" if folded.is_hypothetical else folded.label)
    elif reference is not None:
        parts.append(reference.name)
    return parts
