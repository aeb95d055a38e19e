"""The cost of calls to the outside in a fold: with one recorded query per event, and with none.

The baselines are the same fold without the call, and a fold by a copy of the worker without
interception.
"""

import re
import shutil
import sys
from pathlib import Path

from bench import logs
from bench.measured import print_figures, run_in_process, seconds
from replay import fold
from replay.projection import projection_reference
from replay.worker_host import worker_process
from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile

_QUERYING = """
import importlib.util
_spec = importlib.util.spec_from_file_location("plain", {plain!r})
_plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_plain)
initial = _plain.initial
def _querying(handler):
    def handle(state, event, gateway):
        gateway.query("rates", "rate", {{"pair": "EURUSD", "amount": 12}})
        return handler(state, event)
    return handle
for _name in dir(_plain):
    if _name.startswith("on_"):
        globals()[_name] = _querying(getattr(_plain, _name))
"""
_RECORDINGS = """
INSERT INTO calls BY NAME SELECT "offset" AS call, 'querying' AS projection, 'main' AS timeline,
    "offset", id AS event_id, stream AS key, 0 AS ordinal, 0 AS occurrence, 'query' AS kind,
    'rates' AS port, 'rate' AS operation, md5(CAST("offset" AS VARCHAR)) AS fingerprint,
    '{"amount":12,"pair":"EURUSD"}' AS request, 'ok' AS outcome,
    '{"rate":"1.' || ("offset" % 10000) || '","at":"2026-01-01"}' AS response, 'live' AS origin
FROM events
"""
_INSTALL = re.compile(r'    def install\(self\) -> None:\n        """.*?"""\n', re.DOTALL)
"""The head of the worker's method that replaces clocks and clients."""


def ours(workspace: Path, projection: Path, worker: Path) -> None:
    """Measure a whole fold by the worker in a folder."""
    worker_process.WORKER_MAIN = worker
    wanted = projection_reference.parse_reference(str(projection), sys.executable, Path.cwd())
    opened = WorkspaceFile(workspace)
    print_figures(seconds=seconds(lambda: fold.fold_projection(opened, wanted, force=True)))


def figures(events: int, runs: int = 3) -> list[str]:
    """Return the figures of alternating runs: without calls, with calls, without interception."""
    workspace = logs.DATA / f"calls-{events}.refold"
    if not workspace.exists():
        loader.load_source([str(logs.orders(events))], workspace)
        with WorkspaceFile(workspace).writing() as connection:
            connection.execute(_RECORDINGS)
    plain = logs.plain_projection()
    querying = logs.DATA / "querying.py"
    querying.write_text(_QUERYING.format(plain=str(plain)))
    bare = _without_interception()
    found = [
        [
            run_in_process("bench.calls", workspace, projection, worker)
            for projection, worker in (
                (plain, worker_process.WORKER_MAIN),
                (querying, worker_process.WORKER_MAIN),
                (plain, bare),
            )
        ]
        for _ in range(runs)
    ]
    none, called, without = (
        sorted(run[place]["seconds"] for run in found)[runs // 2] for place in range(3)
    )
    return [
        f"calls, one recorded query an event  {events / called / 1e6:5.3f} M events/s  without it"
        f" {events / none / 1e6:5.3f} M events/s  ratio {none / called:4.2f} (at least 0.33)"
        f"  parent's memory {max(run[1]['memory'] for run in found)} MB",
        f"calls, none made  {events / none / 1e6:5.3f} M events/s  without interception"
        f" {events / without / 1e6:5.3f} M events/s  ratio {without / none:4.2f} (1 is nothing)",
    ]


def _without_interception() -> Path:
    """Make a copy of the worker that replaces no clocks and no clients, and return its main file."""
    folder = logs.DATA / "worker"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(worker_process.WORKER_MAIN.parent, folder)
    environment = folder / "environment/worker_environment.py"
    text, count = _INSTALL.subn(r"\g<0>        return\n", environment.read_text())
    assert count == 1
    environment.write_text(text)
    return folder / "__main__.py"


if __name__ == "__main__":
    ours(*map(Path, sys.argv[1:]))
