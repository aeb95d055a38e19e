"""The header alone: how path and state share a line."""

import pytest
from textual.app import App, ComposeResult

from tui.widgets.bars import Header


class HeaderApp(App[None]):
    CSS = "Header { height: 1; }"

    def compose(self) -> ComposeResult:
        yield Header()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (["orders", "main", "orders_wrong@f00d"], "orders › main › orders_wrong@f00d folded"),
        (["orders", "what-if-1", "orders_wrong@f00d"], "orders › what-if-1 › orders_wron… folded"),
    ],
)
async def test_a_gap_separates_path_and_state(path: list[str], shown: str) -> None:
    app = HeaderApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.query_one(Header).show_path(path, "folded 3,000 · 3 failed · 10 skipped")
        await pilot.pause()
        line = "".join(segment.text for segment in app.screen._compositor.render_strips()[0])
    assert shown in line
    assert line.rstrip().endswith("10 skipped")
