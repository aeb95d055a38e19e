"""Forks of a long log: the time until differences are known, comparing histories, sweeping.

The baseline folds the whole edited log; its result must equal the fork's.
"""

import shutil
import sys
from pathlib import Path

from bench import logs
from bench.measured import print_figures, run_in_process, seconds
from replay import fold
from replay.compare import history_comparison
from replay.event_fold.fold_run import FoldCallbacks, FoldLimits, FoldRun
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.forks.sweep import fork_sweep, trial_fold, variants
from replay.forks.warm_worker import WarmWorker
from replay.history.history import History
from replay.projection import projection_reference
from replay.worker_host.gateway_bridge import GatewayBridge
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace import new_workspace
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile

_SHARES = (0.00001, 0.25, 0.5, 0.75, 0.999)
_FORKS = 1_000
_AGGREGATE = "sum(state.paid)"
_ODD = """
import importlib.util
_spec = importlib.util.spec_from_file_location("plain", {plain!r})
_plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_plain)
initial = _plain.initial
for _name in dir(_plain):
    if _name.startswith("on_"):
        globals()[_name] = getattr(_plain, _name)
def on_OrderPlaced(state, event):
    returned = _plain.on_OrderPlaced(state, event)
    if state["order"].endswith("000"):
        state["odd"] = True
    return returned
"""


def _wanted(projection: Path) -> projection_reference.Reference:
    return projection_reference.parse_reference(str(projection), sys.executable, Path.cwd())


def _without(workspace: Workspace, name: str, place: int) -> ForkedWorkspace:
    made = EditBuilder(workspace, name)
    made.drop(place)
    return edit_builder.create_fork(workspace, name, made.edits)


def forked(path: Path) -> None:
    """Measure dropping one event at several offsets, until differences are known and until saved."""
    workspace, wanted = WorkspaceFile(path), _wanted(logs.PROJECTION)
    base = fold.fold_projection(workspace, wanted)
    seen_after, kept_after, growth = [], [], []
    with WarmWorker() as standing, GatewayBridge(workspace, wanted) as calling:
        run = FoldRun(workspace, wanted, base.next_offset, FoldLimits(), FoldCallbacks(), calling)

        def try_one(place: int) -> None:
            list(trial_fold.try_forks(run, base, [_without(workspace, "tried", place)], standing))

        try_one(17)  # warm up: the worker is ready when a person forks
        for number, share in enumerate(_SHARES):
            place = int(base.next_offset * share)
            seen_after.append(seconds(lambda place=place: try_one(place)))
            size = path.stat().st_size

            def keep(place: int = place, name: str = f"kept-{number}") -> None:
                seen = _without(workspace, name, place)
                folded = fold.fold_projection(seen, wanted, warm_worker=standing)
                history_comparison.compare_histories(
                    History(workspace, base), History(seen, folded)
                )

            kept_after.append(seconds(keep))
            growth.append(path.stat().st_size - size)
    print_figures(seen=max(seen_after), kept=max(kept_after), growth=max(growth))


def whole(path: Path, target: Path) -> None:
    """Measure folding the whole log without its middle event, and compare with the fork."""
    workspace, wanted = WorkspaceFile(path), _wanted(logs.PROJECTION)
    base = fold.fold_projection(workspace, wanted)
    seen = _without(workspace, "middle", base.next_offset // 2)
    fork = History(seen, fold.fold_projection(seen, wanted))
    target.unlink(missing_ok=True)
    with new_workspace.create_workspace(target) as connection:
        dense = f'SELECT * REPLACE ("offset" - CAST("offset" > {base.next_offset // 2} AS BIGINT) AS "offset")'
        with seen.reading() as reading:
            for batch in reading.sql(f"{dense} FROM events").to_arrow_reader(500_000):
                connection.register("batch", batch)
                connection.execute("INSERT INTO events SELECT * FROM batch")
    edited = WorkspaceFile(target)
    took = seconds(lambda: fold.fold_projection(edited, wanted))
    folded = History(edited, fold.fold_projection(edited, wanted))
    last = base.next_offset - 1
    a, b = (_digest(history, last) for history in (fork, folded))
    edited.close()
    target.unlink()
    print_figures(whole=took, same=a == b)


def _digest(history: History, last: int) -> object:
    query = f"SELECT count(*), bit_xor(hash(key, state)) FROM ({history.latest_states_sql(last)})"
    with history.workspace.reading() as connection:
        return connection.execute(query).fetchall()


def compared(path: Path) -> None:
    """Measure comparing two histories in which one document in a thousand differs."""
    workspace = WorkspaceFile(path)
    odd = logs.DATA / "odd.py"
    odd.write_text(_ODD.format(plain=str(logs.PROJECTION)))
    one, other = (
        History(workspace, fold.fold_projection(workspace, _wanted(code)))
        for code in (logs.PROJECTION, odd)
    )
    found = history_comparison.compare_histories(one, other)
    took = sorted(
        seconds(lambda: history_comparison.compare_histories(one, other)) for _ in range(3)
    )
    print_figures(
        compare=took[1],
        differing=len(found.differing_documents),
        documents=one.fold_record.document_count,
    )


def swept(path: Path) -> None:
    """Measure a sweep of a thousand forks, each without one event."""
    workspace, wanted = WorkspaceFile(path), _wanted(logs.PROJECTION)
    base = fold.fold_projection(workspace, wanted)

    def sweep() -> None:
        places = list(range(7, base.next_offset, base.next_offset // _FORKS))[:_FORKS]
        varied = variants.build_drop_variants(workspace, "swept", places)
        found = fork_sweep.sweep_variants(workspace, wanted, base, varied, [_AGGREGATE])
        assert len(found.outcomes) == _FORKS

    print_figures(sweep=seconds(sweep))


def figures(events: int) -> list[str]:
    """Return the figures, measured on a copy because the forks are saved in it."""
    copy = logs.DATA / "forked.refold"
    shutil.copy(logs.workspace(events), copy)
    fork = run_in_process("bench.forks", "forked", copy)
    against = run_in_process("bench.forks", "whole", copy, logs.DATA / "edited.refold")
    both = run_in_process("bench.forks", "compared", copy)
    sweep = run_in_process("bench.forks", "swept", copy)
    copy.unlink()
    return [
        f"fork, one event edited, what differs at the end  {fork['seen'] * 1e3:4.0f} ms (at most 300)"
        f"  kept in the workspace too  {fork['kept'] * 1e3:4.0f} ms"
        f"  adds {fork['growth'] / 1e6:4.2f} MB (at most 1)",
        f"fork against folding the edited log whole  {against['whole']:6.1f} s"
        f"  ratio {against['whole'] / fork['seen']:5.0f}, kept {against['whole'] / fork['kept']:5.0f}"
        f" (at least 50)  {'the same' if against['same'] else 'NOT THE SAME'} result",
        f"compare two histories, {both['differing']:,} of {both['documents']:,} documents differ"
        f"  {both['compare']:4.2f} s (at most 3)",
        f"sweep of {_FORKS:,} forks  {sweep['sweep']:5.1f} s (at most 60)  memory {sweep['memory']} MB",
    ]


if __name__ == "__main__":
    {"forked": forked, "whole": whole, "compared": compared, "swept": swept}[sys.argv[1]](
        *map(Path, sys.argv[2:])
    )
