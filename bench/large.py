"""One large document that every event changes a little: folding it, seeking and stepping in it.

A read model of 50 MB: 180,000 items by number, each with a few fields and a text, and counts
beside them. The first events add the items; each later one changes one item and a count.
"""

import random
import sys
from pathlib import Path

import msgspec

from bench import bare, logs
from bench.measured import print_figures, run_in_process, seconds
from replay.fold import fold_projection
from replay.history import catalogue
from replay.history.history import History
from replay.projection import projection_reference
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tui.state.history_view import query_history
from tui.state.shown_data import ShownData
from tui.state.snapshot import Snapshot
from tui.state.snapshot_query import SnapshotRequest, query_late_details, query_snapshot
from tui.state.timeline_view import query_timeline

PROJECTION = """
def initial(key): return {"items": {}, "counts": {"added": 0, "moved": 0}}
def on_Added(state, event):
    data = event.data
    state["items"][data["item"]] = {
        "name": data["name"], "text": data["text"], "quantity": 0, "places": {}, "last": None
    }
    state["counts"]["added"] += 1
def on_Moved(state, event):
    data = event.data
    item = state["items"][data["item"]]
    item["quantity"] += data["by"]
    item["places"][data["place"]] = item["places"].get(data["place"], 0) + data["by"]
    item["last"] = data["at"]
    state["counts"]["moved"] += 1
"""

ITEMS = 180_000
_SEEKS = 20
_STEPS = 60


def log(events: int) -> Path:
    """Return a workspace with `events` events."""
    return logs.generated(
        f"large-{events}",
        "SELECT i, 'warehouse', CASE WHEN i < $items THEN 'Added' ELSE 'Moved' END,"
        " CASE WHEN i < $items THEN json_object('item', 'item-' || i, 'name', 'Thing ' || i,"
        " 'text', repeat(md5(CAST(i AS VARCHAR)) || ' ', 5))"
        " ELSE json_object('item', 'item-' || hash(i) % $items, 'by', i % 9 + 1,"
        " 'place', 'shelf-' || hash(i + 1) % 20, 'at', i) END, 0, i FROM range($events) t(i)",
        items=min(ITEMS, events // 3),
        events=events,
    )


def baseline(path: Path) -> None:
    """Measure the bare loop."""
    module: dict[str, object] = {}
    exec(PROJECTION, module)
    handlers = {"Added": module["on_Added"], "Moved": module["on_Moved"]}
    state = module["initial"]("warehouse")  # type: ignore[operator]
    decode = msgspec.json.Decoder().decode

    class Event:
        __slots__ = ("data",)

    def handle(kind: str, data: str) -> None:
        event = Event()
        event.data = decode(data)
        handlers[kind](state, event)  # type: ignore[operator]

    bare.loop(path, "type, data", handle)


def fold(path: Path, projection: Path) -> None:
    """Measure what `refold replay --force` does."""
    wanted = projection_reference.parse_reference(str(projection), sys.executable, Path.cwd())
    opened = WorkspaceFile(path)
    print_figures(seconds=seconds(lambda: fold_projection(opened, wanted, force=True)))


def look(path: Path) -> None:
    """Measure the screen's seeks to random offsets, and steps around the last one."""
    opened = WorkspaceFile(path)
    history = query_history(opened, catalogue.list_folds(opened)[-1])
    data = ShownData(query_timeline(opened), history)
    draw = random.Random(7)
    offsets = [draw.randrange(data.extent.event_count - 100) + 50 for _ in range(_SEEKS)]

    def at(offset: int) -> Snapshot:
        snapshot = query_snapshot(SnapshotRequest(data, offset, "warehouse", is_pinned=True))
        assert snapshot.moment is not None
        return snapshot

    seeks = sorted(seconds(lambda o=o: at(o)) for o in offsets)
    query_late_details(data, at(offsets[-1]))
    deltas = [*range(_STEPS // 2), *range(_STEPS // 2, -_STEPS // 2, -1)]
    steps = sorted(seconds(lambda n=n: at(offsets[-1] + n)) for n in deltas)
    print_figures(seek=seeks[-1], step=steps[len(steps) * 99 // 100], size=_size(opened))


def _size(opened: Workspace) -> float:
    """Return the size of the document at the end, in MB of JSON."""
    history = History(opened, catalogue.list_folds(opened)[-1])
    change = history.state_at("warehouse", history.fold_record.next_offset - 1)
    return len((change and change.state) or "") / 1e6


def figures(events: int = 1_000_000, runs: int = 3) -> list[str]:
    """Return the figures of alternating folds, and of one run of seeks and steps."""
    path = log(events)
    projection = logs.DATA / "inventory.py"
    projection.write_text(PROJECTION)
    pairs = [
        (
            run_in_process("bench.large", "baseline", path),
            run_in_process("bench.large", "fold", path, projection),
        )
        for _ in range(runs)
    ]
    loop = sorted(p[0]["seconds"] for p in pairs)[runs // 2]
    mine = sorted(p[1]["seconds"] for p in pairs)[runs // 2]
    looked = run_in_process("bench.large", "look", path)
    return [
        f"large document, {looked['size']:.0f} MB, {events:,} events  fold {mine:5.2f} s  bare loop"
        f" {loop:5.2f} s  ratio {mine / loop:4.2f} (at most 3)  parent's memory"
        f" {max(p[1]['memory'] for p in pairs)} MB",
        f"large document  slowest seek {looked['seek']:4.2f} s (at most 2)  99th percentile of steps"
        f" {looked['step'] * 1e3:4.1f} ms (at most 50)  memory {looked['memory']} MB",
    ]


if __name__ == "__main__":
    {"baseline": baseline, "fold": fold, "look": look}[sys.argv[1]](*map(Path, sys.argv[2:]))
