"""Loading, against DuckDB's own `CREATE TABLE … AS SELECT … FROM read_json(…)` of the same columns."""

import sys
from pathlib import Path

import duckdb

from bench import logs
from bench.measured import print_figures, run_in_process, seconds
from storage.ingest import loader
from storage.ingest.loader import LoadOptions

_COLUMNS = """{id: 'VARCHAR', time: 'TIMESTAMPTZ', stream: 'VARCHAR', revision: 'BIGINT',
type: 'VARCHAR', version: 'VARCHAR', correlation_id: 'VARCHAR', causation_id: 'VARCHAR',
data: 'JSON', meta: 'JSON'}"""


def baseline(log: Path) -> None:
    """Measure DuckDB alone, also writing a file."""
    target = logs.DATA / "baseline.duckdb"
    target.unlink(missing_ok=True)
    connection = duckdb.connect(str(target))
    query = (
        f"CREATE TABLE events AS SELECT * FROM read_json('{log}', format = 'newline_delimited',"
        f" columns = {_COLUMNS}, ignore_errors = true)"
    )
    print_figures(seconds=seconds(lambda: (connection.execute(query), connection.close())))
    target.unlink()


def ours(log: Path, target: Path) -> None:
    """Measure what `refold load` does."""
    print_figures(
        seconds=seconds(lambda: loader.load_source([str(log)], target, LoadOptions(replace=True)))
    )


def figures(events: int, runs: int = 3) -> list[str]:
    """Return lines that compare the median times of `refold load` and of DuckDB's `read_json`."""
    lines = []
    cases = [("clean", logs.orders(events), logs.workspace(events), 1.5)]
    careful = logs.DATA / "careful.refold"
    cases.append(("0.10 and broken lines", logs.careful_orders(events), careful, 2.5))
    for name, log, target, allowed in cases:
        pairs = [
            (
                run_in_process("bench.load", "baseline", log),
                run_in_process("bench.load", "ours", log, target),
            )
            for _ in range(runs)
        ]
        theirs = sorted(p[0]["seconds"] for p in pairs)[runs // 2]
        mine = sorted(p[1]["seconds"] for p in pairs)[runs // 2]
        memory = max(p[1]["memory"] for p in pairs)
        lines.append(
            f"load, {name:<22} {mine:6.2f} s  read_json {theirs:6.2f} s"
            f"  ratio {mine / theirs:4.2f} (at most {allowed})  memory {memory} MB (at most 2,000)"
        )
    careful.unlink(missing_ok=True)
    return lines


if __name__ == "__main__":
    {"baseline": baseline, "ours": ours}[sys.argv[1]](*map(Path, sys.argv[2:]))
