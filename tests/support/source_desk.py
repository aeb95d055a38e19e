"""Helpers of the storage tests: write a log, load it, and query the workspace."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from storage.ingest.loader import LoadOptions, LoadResult, load_source
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile

Event = dict[str, Any]


class Desk:
    """A folder with a log and its workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "kept.refold"

    def event(self, number: int, **others: Any) -> Event:
        """Return a plain event; `others` replaces or adds members."""
        return {
            "id": f"e{number}",
            "time": f"2026-01-03T12:{number // 60 % 60:02}:{number % 60:02}Z",
            "stream": f"order-{number % 3}",
            "type": "Placed",
            "data": {"n": number},
            **others,
        }

    def text(self, *events: Event) -> str:
        return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)

    def write(self, content: str | bytes, name: str = "log.jsonl") -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def grow(self, path: Path, more: str | bytes) -> None:
        with path.open("ab") as stream:
            stream.write(more.encode() if isinstance(more, str) else more)

    def load(self, *names: Path | str, **wish: Any) -> LoadResult:
        return load_source([str(name) for name in names], self.target, LoadOptions(**wish))

    def ask(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.open().reading() as connection:
            rows = (
                connection.sql(query, params=list(parameters) or None).to_arrow_table().to_pylist()
            )
        return [tuple(row.values()) for row in rows]

    def column(self, name: str, table: str = "events") -> list[Any]:
        order = '"offset"' if table == "events" else "source, line"
        return [row[0] for row in self.ask(f"SELECT {name} FROM {table} ORDER BY {order}")]

    def rejects(self) -> list[tuple[int, str, str]]:
        return [
            (a, b, c) for a, b, c in self.ask("SELECT line, reason, text FROM rejects ORDER BY 1")
        ]

    def open(self, **wishes: Any) -> Workspace:
        return WorkspaceFile(self.target, **wishes)

    def leftovers(self) -> list[str]:
        """Return the names of temporary files that were left beside the workspace."""
        return sorted(p.name for p in self.folder.iterdir() if p.name.startswith("kept.refold."))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One desk for all tests of a module, which only read it."""
    return Desk(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def desk_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Desk]:
    """Creates desks by name, for tests of a module that only read them."""
    return lambda name: Desk(tmp_path_factory.mktemp(name))


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the local time zone to New York, five hours behind UTC in January."""
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
