"""Folding with the complete history on disk, against a bare loop on one core that stores nothing.

The bare loop decodes with msgspec and calls the handlers. The projection declares three
invariants, which a fold checks for every state. Without them the baseline only calls the handlers;
with them it checks the invariants too.
"""

import contextlib
import importlib.util
import shutil
import sys
import venv
from pathlib import Path

import msgspec

from bench import bare, logs
from bench.measured import print_figures, run_in_process, seconds
from replay import fold
from replay.event_fold.fold_run import FoldLimits
from replay.projection import projection_reference
from storage.workspace.workspace_file import WorkspaceFile


class _Event:
    __slots__ = ("data", "stream", "type", "version")


def baseline(workspace: Path, projection: Path) -> None:
    """Measure the bare loop."""
    spec = importlib.util.spec_from_file_location("orders", projection)
    assert spec is not None and spec.loader is not None  # noqa: PT018 - a fixed file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handlers = {n[3:]: getattr(module, n) for n in dir(module) if n.startswith("on_")}
    rules = list(getattr(module, "INVARIANTS", {}).values())
    decode = msgspec.json.Decoder().decode
    documents: dict[str, object] = {}

    def handle(kind: str, stream: str, version: str, data: str) -> None:
        handler = handlers.get(kind)
        if handler is None:
            return
        state = documents.get(stream)
        if state is None:
            state = documents[stream] = module.initial(stream)
        event = _Event()
        event.type, event.stream, event.version = kind, stream, int(version)
        event.data = decode(data)
        with contextlib.suppress(Exception):  # some events are malformed on purpose
            handler(state, event)
            for rule in rules:
                rule(state)

    bare.loop(workspace, "type, stream, version, data", handle)


def ours(workspace: Path, projection: Path, workers: str, python: str) -> None:
    """Measure what `refold replay --force` does."""
    wanted = projection_reference.parse_reference(str(projection), python, Path.cwd())
    opened = WorkspaceFile(workspace)
    print_figures(
        seconds=seconds(
            lambda: fold.fold_projection(
                opened, wanted, force=True, limits=FoldLimits(int(workers))
            )
        )
    )


def figures(events: int, runs: int = 3) -> list[str]:
    """Return events per second and their ratio, from alternating runs on a copy."""
    original = logs.workspace(events)
    copy = original.with_suffix(".copy.refold")
    lines = []
    plain = logs.plain_projection()
    ways: list[tuple[str, Path, int, str, float]] = [
        ("", plain, 1, sys.executable, 0.6),
        (", three invariants", logs.PROJECTION, 1, sys.executable, 0.5),
        (", two workers", plain, 2, sys.executable, 0.8),
        (", a bare interpreter", plain, 1, _bare(), 0.12),
    ]
    for name, projection, workers, python, least in ways:
        shutil.copy(original, copy)
        pairs = [
            (
                run_in_process("bench.fold", "baseline", copy, projection),
                run_in_process("bench.fold", "ours", copy, projection, workers, python),
            )
            for _ in range(runs)
        ]
        copy.unlink()
        bare = sorted(p[0]["seconds"] for p in pairs)[runs // 2]
        mine = sorted(p[1]["seconds"] for p in pairs)[runs // 2]
        lines.append(
            f"fold, history on disk{name}  {events / mine / 1e6:5.3f} M events/s  bare loop"
            f" {events / bare / 1e6:5.3f} M events/s  ratio {bare / mine:4.2f} (at least {least})"
            f"  parent's memory {max(p[1]['memory'] for p in pairs)} MB"
        )
    return lines


def _bare() -> str:
    """Make an environment of this interpreter with only the standard library; return its Python."""
    folder = logs.DATA / "bare"
    if not folder.exists():
        venv.create(folder, with_pip=False)
    return str(folder / "bin" / "python")


if __name__ == "__main__":
    if sys.argv[1] == "baseline":
        baseline(*map(Path, sys.argv[2:]))
    else:
        ours(Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
