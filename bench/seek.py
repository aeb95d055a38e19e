"""Seeking to random offsets: a document's state, the difference that its last event made, 50 events."""

import random
import sys
from pathlib import Path

from bench import logs
from bench.measured import print_figures, run_in_process, seconds
from replay.history import catalogue
from replay.history.history import History
from storage.log.event_log import EventLog
from storage.workspace.workspace_file import WorkspaceFile

_SEEKS = 400


def ours(path: Path) -> None:
    """Measure the median and the 99th percentile of 400 seeks, after 20 to warm up."""
    workspace = WorkspaceFile(path)
    history = History(workspace, catalogue.list_folds(workspace)[-1])
    log = EventLog(workspace)
    events, keys = log.read_extent().event_count, history.fold_record.document_count
    draw = random.Random(7)
    wanted = [
        (history.documents(draw.randrange(keys), 1)[0].key, draw.randrange(events))
        for _ in range(_SEEKS + 20)
    ]

    def seek(key: str, offset: int) -> None:
        history.document_at(key, offset).differences_to_previous()
        log.read_events(max(offset - 25, 0), 50)

    times = sorted([seconds(lambda k=k, o=o: seek(k, o)) for k, o in wanted][20:])
    print_figures(median=times[_SEEKS // 2] * 1e3, p99=times[_SEEKS * 99 // 100] * 1e3)


def figures(small: int, large: int) -> list[str]:
    """Return the figures of the large log against the small one."""
    few = run_in_process("bench.seek", logs.workspace(small))
    many = run_in_process("bench.seek", logs.workspace(large))
    return [
        f"seek, 99th percentile  {many['p99']:5.1f} ms at {large:,} (at most 50)"
        f"  {few['p99']:5.1f} ms at {small:,}  ratio {many['p99'] / few['p99']:4.2f} (at most 3)"
        f"  medians {many['median']:.1f} and {few['median']:.1f} ms"
    ]


if __name__ == "__main__":
    ours(Path(sys.argv[1]))
