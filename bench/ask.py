"""Queries over 5 million states: blame, conditions, invariants, values over time."""

import random
import sys
from pathlib import Path

from bench import logs
from bench.measured import print_figures, run_in_process, seconds
from replay.history import catalogue
from replay.history.history import History
from replay.query import blame, condition_search, invariants
from replay.query.series import compute_series
from storage.log.event_log import EventLog
from storage.log.positions import START
from storage.workspace.workspace_file import WorkspaceFile

_ASKED = 200
_STRETCHES = 400
_CONDITIONS = ("state.total < 0", "state.paid - state.refunded > state.total")
_OF_ALL = "sum(state.refunded) <= sum(state.paid)"
_PLOT = "sum(state.total)"


def changes(path: Path) -> None:
    """Measure the 99th percentile of blame, next and previous change at random positions."""
    history, events = _open_history(path)
    draw = random.Random(11)
    keys = [
        history.documents(draw.randrange(history.fold_record.document_count), 1)[0].key
        for _ in range(_ASKED)
    ]
    wanted = [(key, draw.randrange(events)) for key in keys]

    def last_change(key: str, offset: int) -> None:
        found = blame.find_value_changes(
            history, key, ("status",), after=START, until=offset, backwards=True
        )
        next(found, None)

    asked = {"blame": last_change, "next": history.next_change, "previous": history.previous_change}
    print_figures(
        **{
            name: sorted(seconds(lambda a=a, k=k, o=o: a(k, o)) for k, o in wanted)[-2] * 1e3
            for name, a in asked.items()
        }
    )


def condition(path: Path, text: str) -> None:
    """Measure finding all transitions of a condition, and the first stretch of them."""
    history, _ = _open_history(path)
    found = condition_search.find_became_true(history, text)
    first = seconds(lambda: next(found))
    print_figures(first=first, all=first + seconds(lambda: list(found)))


def of_all(path: Path) -> None:
    """Measure an invariant over all documents, and the invariants of the projection."""
    history, _ = _open_history(path)
    asked = seconds(lambda: list(invariants.find_violations(history, {_OF_ALL: _OF_ALL})))
    print_figures(asked=asked, declared=seconds(lambda: list(invariants.find_violations(history))))


def plot(path: Path) -> None:
    """Measure an aggregate over all states, in the stretches of a plot."""
    history, _ = _open_history(path)
    ends = EventLog(history.workspace).read_density(_STRETCHES).last_offsets
    print_figures(seconds=seconds(lambda: compute_series(history, _PLOT, ends)))


def figures(events: int) -> list[str]:
    """Return the figures; each query runs in its own process, with cold caches."""
    path = logs.workspace(events)
    changed = run_in_process("bench.ask", "changes", path)
    lines = [
        f"ask, 99th percentile  blame {changed['blame']:.1f} ms  next change"
        f" {changed['next']:.1f} ms  previous change {changed['previous']:.1f} ms (at most 100)"
    ]
    for text in _CONDITIONS:
        found = run_in_process("bench.ask", "condition", path, text)
        lines.append(
            f"ask, {text:<42} {found['all']:5.2f} s (at most 3)"
            f"  first stretch {found['first'] * 1e3:4.0f} ms (at most 200)  memory {found['memory']} MB"
        )
    found = run_in_process("bench.ask", "of_all", path)
    lines.append(
        f"ask, {_OF_ALL:<42} {found['asked']:5.2f} s (at most 3)"
        f"  the projection's own invariants {found['declared'] * 1e3:.0f} ms  memory {found['memory']} MB"
    )
    found = run_in_process("bench.ask", "plot", path)
    lines.append(
        f"ask, plot of {_PLOT:<34} {found['seconds']:5.2f} s (at most 2)  memory {found['memory']} MB"
    )
    return lines


def _open_history(path: Path) -> tuple[History, int]:
    workspace = WorkspaceFile(path)
    history = History(workspace, catalogue.list_folds(workspace)[-1])
    return history, EventLog(workspace).read_extent().event_count


if __name__ == "__main__":
    parts = {"changes": changes, "condition": condition, "of_all": of_all, "plot": plot}
    parts[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
