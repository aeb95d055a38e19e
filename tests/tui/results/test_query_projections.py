"""A query over all events on the screen: asked around the cursor, wherever it goes."""

import shutil
from pathlib import Path

from replay.history import catalogue
from replay.projection import projection_reference
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import Shop, Sitting, refer

QUERY = """
SELECT stream AS key, count(*) AS events, max("offset") AS last FROM events GROUP BY stream
"""


def _own(shop, folder):
    """A copy of the workspace, as folding writes."""
    shop.workspace.release()
    return WorkspaceFile(Path(shutil.copy(shop.workspace.path, folder / "own.refold")))


def _known(seat):
    snapshot = seat.app.state.snapshot
    return snapshot is not None and snapshot.has_states and snapshot.moment is not None


async def test_it_is_asked_around_the_cursor_and_follows_it(
    shop: Shop, sit: Sitting, tmp_path: Path
):
    (tmp_path / "counts.sql").write_text(QUERY)
    async with sit(
        _own(shop, tmp_path), refer(tmp_path / "counts.sql"), at=700, still=False
    ) as seat:
        await seat.until(lambda: _known(seat))
        await seat.until(lambda: "folded from" in seat.header)
        await seat.still()
        assert seat.app.state.snapshot.changed_keys
        assert "last" in "\n".join(seat.pane("document"))
        assert "700" in "\n".join(seat.pane("document"))
        await seat.until(lambda: any("before 690" in line for line in seat.pane("documents")))
        assert any("~ last" in line and "was" in line for line in seat.pane("document"))
        await seat.press("]", "]", "[")
        assert "701" in "\n".join(seat.pane("document"))
        await seat.type(":", "1500")
        await seat.until(lambda: _known(seat) and seat.position == 1500)
        await seat.still()
        assert "1500" in "\n".join(seat.pane("document"))


async def test_what_cant_be_asked_is_told_once(shop: Shop, sit: Sitting, tmp_path: Path):
    (tmp_path / "counts.sql").write_text("SELECT stream FROM events")
    async with sit(
        _own(shop, tmp_path), refer(tmp_path / "counts.sql"), at=700, still=False
    ) as seat:
        await seat.until(lambda: "no column called key" in seat.header)
        await seat.press("]")
        assert "no column called key" in seat.header


async def test_one_that_says_what_its_documents_depend_on_is_folded_whole(
    shop: Shop, sit: Sitting, tmp_path: Path
):
    (tmp_path / "counts.sql").write_text("-- refold: own events of stream\n" + QUERY)
    wanted = projection_reference.parse_reference(
        "counts.sql", catalogue.default_python(), Path(tmp_path)
    )
    async with sit(_own(shop, tmp_path), wanted, at=20, still=False) as seat:
        await seat.until(lambda: "folded 3,000" in seat.header, seconds=30)
        await seat.type("F", "state.events > 6")
        await seat.press("e")
        assert "SELECT stream AS key, count(*)" in "\n".join(seat.pane("code"))
