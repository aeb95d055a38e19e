"""Projections over all events: the state at the end of the log, against a bare loop of the same."""

import sys
from pathlib import Path

import msgspec

from bench import bare, logs
from bench.measured import print_figures, run_in_process, seconds
from replay.event_fold import event_reader
from replay.projection import projection_reference
from replay.query_projections.state_query import StateQuery
from storage.workspace.workspace_file import WorkspaceFile

SQL = """
SELECT stream AS key, count(*) AS items,
    sum(CAST(data->>'qty' AS INTEGER)) AS qty, max("offset") AS last
FROM events WHERE type = 'ItemAdded' GROUP BY stream
"""

POLARS = """
import polars as pl

def project(events):
    qty = pl.col("data").str.json_decode(pl.Struct({"qty": pl.Int64})).struct.field("qty")
    return events.filter(pl.col("type") == "ItemAdded").group_by(key="stream").agg(
        items=pl.len(), qty=qty.sum(), last=pl.col("offset").max())
"""


def baseline(workspace: Path) -> None:
    """Measure the bare loop, which decodes and applies."""
    decode = msgspec.json.Decoder().decode
    documents: dict[str, dict[str, int]] = {}

    def handle(offset: int, kind: str, stream: str, data: str) -> None:
        if kind != "ItemAdded":
            return
        decoded = decode(data)
        state = documents.get(stream)
        if state is None:
            state = documents[stream] = {"items": 0, "qty": 0, "last": -1}
        state["items"] += 1
        state["qty"] += decoded["qty"]
        state["last"] = offset

    bare.loop(workspace, '"offset", type, stream, data', handle)


def ours(workspace: Path, projection: Path) -> None:
    """Measure reading all documents at the last position, as JSON."""
    opened = WorkspaceFile(workspace)
    looked = StateQuery(
        opened, projection_reference.parse_reference(str(projection), sys.executable, Path.cwd())
    )
    end = event_reader.count_events(opened) - 1
    found = 0

    def look() -> None:
        nonlocal found
        for batch in looked.scan_documents_at(end):
            found += batch.num_rows

    print_figures(seconds=seconds(look), documents=found)


def figures(count: int, runs: int = 3) -> list[str]:
    """Return the figures of alternating runs."""
    workspace = logs.workspace(count)
    lines = []
    for name, file, source in (("SQL", "end.sql", SQL), ("Polars", "end.py", POLARS)):
        projection = logs.DATA / file
        projection.write_text(source)
        pairs = [
            (
                run_in_process("bench.relational", "baseline", workspace),
                run_in_process("bench.relational", "ours", workspace, projection),
            )
            for _ in range(runs)
        ]
        if any(bare["documents"] != mine["documents"] for bare, mine in pairs):
            raise AssertionError(f"{name} gives other documents than the loop")
        bare = sorted(pair[0]["seconds"] for pair in pairs)[runs // 2]
        mine = sorted(pair[1]["seconds"] for pair in pairs)[runs // 2]
        lines.append(
            f"state at the end, {name}  {mine:5.2f} s  bare loop {bare:5.2f} s"
            f"  ratio {bare / mine:4.2f} (at least 2)  memory {max(p[1]['memory'] for p in pairs)} MB"
        )
    return lines


if __name__ == "__main__":
    {"baseline": baseline, "ours": ours}[sys.argv[1]](*map(Path, sys.argv[2:]))
