"""A studio for folds: a log that grows, projection files beside it, and their history."""

import importlib.util
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from replay.event_fold import history_writer
from replay.fold import fold_projection
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from replay.projection import projection_reference
from replay.query import history_scan
from replay.worker_host import flow_control
from storage.ingest import loader
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fold_options import build_fold_options

WORKER = Path(projection_reference.__file__).parents[1] / "worker"


class Studio:
    """A folder with one log, its workspace, and projections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.jsonl"
        self.path = folder / "log.refold"
        self._written = 0
        self._workspace: Workspace | None = None

    def events(self, *events: Any) -> Workspace:
        """Append events, each `(stream, type, data)` or a whole record, and load them."""
        with self.log.open("a") as stream:
            for event in events:
                stream.write(json.dumps(self._record(event)) + "\n")
        if self._workspace is not None:
            self._workspace.release()
        loader.load_source([str(self.log)], self.path)
        return self.workspace

    def _record(self, event: Any) -> Any:
        number = self._written
        self._written += 1
        if isinstance(event, dict):
            return event
        stream, kind, data = event
        return {"id": f"e{number}", "stream": stream, "type": kind, "data": data}

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            self._workspace = WorkspaceFile(self.path)
        return self._workspace

    def file(self, name: str, source: str) -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(source))
        return path

    def refer(
        self, text: str = "p.py", python: str | None = None
    ) -> projection_reference.Reference:
        return projection_reference.parse_reference(
            text, python or catalogue.default_python(), self.folder
        )

    def fold(self, text: str = "p.py", **wishes: Any) -> FoldRecord:
        return fold_projection(self.workspace, self.refer(text), **build_fold_options(**wishes))

    def found(self, text: str = "p.py") -> FoldRecord:
        """Return the existing fold, without folding."""
        folded = catalogue.find_fold(self.workspace, self.refer(text))
        assert folded is not None
        return folded

    def history(self, text: str = "p.py", **wishes: Any) -> History:
        return History(self.workspace, self.fold(text, **wishes))

    def changes(self, folded: FoldRecord) -> list[tuple[int, str, Any]]:
        """Return the whole history as (offset, key, state), in the order of the log.

        Also checks that changes are numbered without a gap and refer to the previous change.
        """
        with self.workspace.reading() as connection:
            rows = connection.execute(
                'SELECT "offset", key, state FROM history WHERE projection = ?'
                ' ORDER BY "offset", key',
                [folded.projection_number],
            ).fetchall()
            numbered = connection.execute(
                'SELECT "offset", change, previous, lag(change) OVER (PARTITION BY key ORDER BY change)'
                " FROM history WHERE projection = ? ORDER BY change",
                [folded.projection_number],
            ).fetchall()
        first = numbered[0][1] if numbered else 0
        assert [change for _, change, *_ in numbered] == list(range(first, first + len(rows)))
        assert [offset for offset, *_ in numbered] == [offset for offset, _, _ in rows]
        assert [previous for _, _, previous, _ in numbered] == [lag for *_, lag in numbered]
        return [(o, k, None if s is None else json.loads(s)) for o, k, s in rows]

    def failures(self, folded: FoldRecord) -> list[Any]:
        return History(self.workspace, folded).failures()


@contextmanager
def small_flushes(rows: int = 25) -> Iterator[None]:
    """Make the writer store a history in many flushes, as for a long log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_writer, "_MAX_PENDING_ROWS", rows)
        patch.setattr(flow_control, "_FIRST_BATCH_EVENTS", rows)
        patch.setattr(flow_control, "_MAX_BATCH_EVENTS", rows)
        yield


@pytest.fixture
def many_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make scans read a history in many chunks, if it was stored in many flushes."""
    monkeypatch.setattr(history_scan, "_FIRST_CHUNK_EVENTS", 10)
    monkeypatch.setattr(history_scan, "_MAX_CHUNK_CHANGES", 50)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


@pytest.fixture
def new_studio(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Creates studios, for tests that need one for each example."""
    return lambda: Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="module")
def new_studio_of_module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Creates studios for hypothesis, which needs a fixture that outlives its examples."""
    return lambda: Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="session")
def worker() -> Any:
    """The worker package, under the name that it has in a worker process."""
    if "refold_worker" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "refold_worker", WORKER / "__init__.py", submodule_search_locations=[str(WORKER)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["refold_worker"] = module
        spec.loader.exec_module(module)
    for part in (
        "environment.calls",
        "fold.contract",
        "fold.documents",
        "fold.fast_path",
        "fold.fold_loop",
        "fold.document_parts",
        "fold.result",
        "protocol.encoding",
        "protocol.event",
    ):
        importlib.import_module(f"refold_worker.{part}")
    return sys.modules["refold_worker"]


def ticks(streams: Iterable[str], kind: str = "Ticked") -> list[tuple[str, str, dict[str, int]]]:
    """Return one event for each stream, numbered from 0."""
    return [(stream, kind, {"n": n}) for n, stream in enumerate(streams)]
