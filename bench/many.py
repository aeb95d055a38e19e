"""Very many documents: a fold in bounded memory, against the same fold without a bound."""

import sys
from pathlib import Path

from bench import logs
from bench.measured import print_figures, run_in_process, seconds
from replay.event_fold.fold_run import FoldLimits
from replay.fold import fold_projection
from replay.projection import projection_reference
from storage.workspace.workspace_file import WorkspaceFile

PROJECTION = """
def initial(key): return {"name": key, "total": 0, "seen": []}
def on_Added(state, event):
    state["total"] += event.data["by"]
    state["seen"] = (state["seen"] + [event.data["by"]])[-3:]
"""

_AGAIN = 1.2
"""Events per document."""


def log(keys: int) -> Path:
    """Return a workspace with `keys` streams."""
    return logs.generated(
        f"many-{keys}",
        "SELECT i, 'account-' || (CASE WHEN i < $keys THEN i * 7919 ELSE hash(i) END % $keys),"
        " 'Added', '{\"by\": ' || i % 100 || '}', 0, i FROM range($events) t(i)",
        keys=keys,
        events=int(keys * _AGAIN),
    )


def fold(path: Path, projection: Path, memory: str) -> None:
    """Measure what `refold replay --force` does with `memory` MB; 0: the default."""
    wanted = projection_reference.parse_reference(str(projection), sys.executable, Path.cwd())
    opened = WorkspaceFile(path)
    limit = int(memory) << 20 or None
    took = seconds(
        lambda: fold_projection(opened, wanted, force=True, limits=FoldLimits(memory_bytes=limit))
    )
    with opened.reading() as connection:
        rows = connection.execute(
            'SELECT keys, changes, (SELECT bit_xor(hash(key, "offset", change, previous, state))'
            " FROM history) FROM folds"
        ).fetchall()
    print_figures(seconds=took, folded=rows[0])


def figures(keys: int) -> list[str]:
    """Return the figures of one pair of runs."""
    path = log(keys)
    projection = logs.DATA / "many.py"
    projection.write_text(PROJECTION)
    bounded = run_in_process("bench.many", "fold", path, projection, 0)
    unbounded = run_in_process("bench.many", "fold", path, projection, 200_000)
    if bounded["folded"] != unbounded["folded"]:
        raise AssertionError("the histories differ")
    return [
        f"fold of {keys / 1e6:g} M documents in 1 GiB  {bounded['seconds']:5.1f} s  with room for all"
        f" {unbounded['seconds']:5.1f} s  ratio {bounded['seconds'] / unbounded['seconds']:4.2f}"
        f" (at most 2)  parent's memory {bounded['memory']} MB"
    ]


if __name__ == "__main__":
    fold(*map(Path, sys.argv[2:4]), sys.argv[4])
