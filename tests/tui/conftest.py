"""A screen over a small folded log, driven as a person drives it."""

import asyncio
import json
import os
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.keys import _character_to_key
from textual.message_pump import MessagePump
from textual.pilot import Pilot
from textual.widgets import Input
from textual.worker import Worker

from replay import fold
from replay.history import catalogue
from replay.projection import projection_reference
from sample_logs import SAMPLES
from storage.ingest import loader
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tui.app import RefoldApp
from tui.folding import controller
from tui.screens.main.main_screen import MainScreen
from tui.widgets.bars import Header, MessageLine, PositionLine
from tui.widgets.density_strip import DensityStrip
from tui.widgets.line_view import LineView
from tui.widgets.paged_list import PagedList

_SETS_OF_PARAMETERS = 2
"""How many sets of a screen test's parameters `make test` tries; the other ones are slow."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the further sets of parameters of the tests that open a screen."""
    sets: Counter[str] = Counter()
    for item in items:
        if "sit" in getattr(item, "fixturenames", ()):
            test = item.nodeid.partition("[")[0]
            sets[test] += 1
            if sets[test] > _SETS_OF_PARAMETERS:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _one_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def worker_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """What was raised in a worker thread, or in what it called on the screen: nothing may be."""
    raised: list[BaseException] = []
    run = Worker._run

    async def watched(self: Worker[Any], app: Any) -> None:
        await run(self, app)
        if self.error is not None and not self.is_cancelled and app.is_running:
            raised.append(self.error)

    monkeypatch.setattr(Worker, "_run", watched)
    yield raised
    assert not raised, raised


@pytest.fixture(autouse=True)
def _no_warm_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process that waits for changed code, also on a busy machine; tests of it set a delay."""
    monkeypatch.setattr(controller, "_WARM_PROCESS_DELAY_SECONDS", 3_600)


@dataclass
class Seat:
    """Where a person sits: keys, mouse, and what is to be seen."""

    app: RefoldApp
    pilot: Pilot[None]
    told: list[str]
    """By the message line."""

    @property
    def travel(self) -> MainScreen:
        return self.app.main_screen

    @property
    def position(self) -> int:
        return self.app.state.position

    async def still(self) -> None:
        """Wait until nothing is on its way any more."""
        quiet = 0
        deadline = time.monotonic() + 60
        while quiet < 4:  # a paint, which may ask for rows, takes 16 ms
            assert time.monotonic() < deadline, "the screen doesn't come to rest"
            await asyncio.sleep(0.008)
            busy = (
                any(not w.is_finished for w in self.app.workers)
                or any(not pump._message_queue.empty() for pump in self._pumps())
                or self.travel.controllers.snapshots.is_busy
                or any(pane.pages.is_loading for pane in self.app.screen.query(PagedList))
                or not self._settled()
            )
            quiet = 0 if busy else quiet + 1

    def _settled(self) -> bool:
        now, settled = self.app.state.snapshot, self.app.state.late_details
        same = now and settled and (now.position, now.key) == (settled.position, settled.key)
        return bool(same) and self.travel.query_one(DensityStrip)._overview is not None

    def _pumps(self) -> list[MessagePump]:
        return [self.app, self.app.screen, *self.app.screen.walk_children()]

    async def press(self, *keys: str) -> None:
        """Press keys, waiting for each to be answered, but for no animation."""
        for key in keys:
            await self.hit(key)
            if not (len(key) == 1 and key in "0123456789"):
                await self.still()

    async def hit(self, key: str) -> None:
        """Press a key, and go on as soon as it has been heard."""
        character = key if len(key) == 1 else _character(key)
        event = Key(_character_to_key(key) if len(key) == 1 else key, character)
        event.set_sender(self.app)
        self.app.post_message(event)
        while any(not pump._message_queue.empty() for pump in self._pumps()):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)

    async def type(self, key: str, text: str) -> None:
        """Open a prompt with a key, type, and press Enter."""
        await self.hit(key)
        await self.still()
        self.travel.query_one(Input).value = text
        await self.press("enter")

    async def type_over(self, text: str) -> None:
        """Put text into the prompt that is open."""
        self.travel.query_one(Input).value = text
        await self.still()

    async def click(self, selector: str, x: int, y: int) -> None:
        await self.pilot.click(selector, offset=(x, y))
        await self.still()

    def screen_text(self) -> str:
        """What is on the screen, as plain text; one line a row."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(s.text for s in strip) for strip in strips)

    def pane(self, name: str) -> list[str]:
        """The lines of a pane that are to be seen."""
        pane = self.travel.query_one(f"#{name}", LineView)
        height = pane.scrollable_content_region.height
        return [pane.render_line(y).text.rstrip() for y in range(height)]

    def pane_strip(self) -> str:
        """The density strip with its lanes."""
        strip = self.travel.query_one(DensityStrip)
        return "\n".join(strip.render_line(y).text for y in range(strip.size.height))

    def title(self, name: str) -> str:
        return self.travel.query_one(f"#{name}", LineView).title

    def subtitle(self, name: str) -> str:
        return self.travel.query_one(f"#{name}", LineView).subtitle

    @property
    def header(self) -> str:
        return str(self.travel.query_one(Header).render())

    @property
    def position_line(self) -> str:
        return str(self.travel.query_one(PositionLine).render())

    @property
    def said(self) -> list[str]:
        """What was told, in the line for it and in notifications."""
        return [*self.told, *(n.message for n in self.app._notifications)]

    async def until(self, wanted: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline, self.header
            await self.pilot.pause(0.02)


def _character(key: str) -> str | None:
    try:
        return unicodedata.lookup(key.replace("_", " ").upper())
    except KeyError:
        return None


Sitting = Callable[..., AbstractAsyncContextManager[Seat]]


@pytest.fixture
def sit(monkeypatch: pytest.MonkeyPatch) -> Sitting:
    """Open a screen: `async with sit(workspace, reference, at=…, size=…) as seat`."""

    @asynccontextmanager
    async def sitting(
        workspace: Workspace,
        *wanted: projection_reference.Reference,
        at: int | None = None,
        size: tuple[int, int] = (120, 40),
        still: bool = True,
        theme: str | None = None,
    ) -> AsyncIterator[Seat]:
        told: list[str] = []
        say = MessageLine.show_message

        def heard(self: MessageLine, message: str, *, trouble: bool = False) -> None:
            told.append(message)
            say(self, message, trouble=trouble)

        monkeypatch.setattr(MessageLine, "show_message", heard)
        workspace.release()  # else the fold would wait for us
        app = RefoldApp(WorkspaceFile(workspace.path), wanted, at=at)
        async with app.run_test(size=size) as pilot:
            if theme is not None:
                app.theme = theme
            seat = Seat(app, pilot, told)
            if still:
                await seat.still()
            yield seat
            if still and app.is_running:
                await seat.still()

    return sitting


@dataclass(frozen=True)
class Shop:
    """The orders log, folded by its two projections."""

    workspace: Workspace
    right: projection_reference.Reference
    wrong: projection_reference.Reference


def refer(path: Path) -> projection_reference.Reference:
    return projection_reference.parse_reference(str(path), catalogue.default_python(), path.parent)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Nobody writes into it but those who fold it anew."""
    folder = tmp_path_factory.mktemp("shop")
    sample = SAMPLES["orders"]
    for path in (sample.log, sample.projection, sample.wrong_projection):
        shutil.copy(path, folder / path.name)
    target = folder / "orders.refold"
    loader.load_source([str(folder / sample.log.name)], target)
    workspace = WorkspaceFile(target)
    right, wrong = (refer(folder / p.name) for p in (sample.projection, sample.wrong_projection))
    fold.fold_projection(workspace, right)
    fold.fold_projection(workspace, wrong)
    with workspace.writing() as connection:
        # Neither this machine nor this interpreter is to be seen.
        connection.execute("UPDATE projections SET hash = 'f00d' || substr(hash, 5)")
        connection.execute(
            "UPDATE failures SET traceback = replace(traceback, ?, '/shop')", [str(folder)]
        )
    return Shop(workspace, right, wrong)


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Workspace]:
    """A workspace from records: `log({"stream": …, "type": …, "data": …}, …)`."""

    def load(*records: Any) -> Workspace:
        source = tmp_path / "log.jsonl"
        with source.open("a") as stream:
            for record in records:
                stream.write((record if isinstance(record, str) else json.dumps(record)) + "\n")
        loader.load_source([str(source)], tmp_path / "log.refold")
        return WorkspaceFile(tmp_path / "log.refold")

    return load


@pytest.fixture
def projection(tmp_path: Path) -> Callable[..., projection_reference.Reference]:
    """A projection file with this source."""

    def write(source: str, name: str = "p.py") -> projection_reference.Reference:
        (tmp_path / name).write_text(source)
        return refer(tmp_path / name)

    return write


@pytest.fixture
def pictures_wanted() -> bool:
    return os.environ.get("REFOLD_PICTURES") == "update"
