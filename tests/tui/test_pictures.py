"""Pictures of the screen, compared byte by byte; REFOLD_PICTURES=update draws them anew."""

import re
from pathlib import Path
from typing import Any

import pytest

from tui.widgets.line_view import LineView

PICTURES = Path(__file__).parent / "pictures"


async def _at_rest(seat: Any) -> str:
    """The picture, when it has stayed the same for a while."""
    drawn, same = "", 0
    for _ in range(100):
        await seat.pilot.pause(0.05)
        now = re.sub(r"terminal-\d+", "terminal", seat.app.export_screenshot())
        same = same + 1 if now == drawn else 0
        drawn = now
        if same == 6:
            break
    return drawn


@pytest.mark.parametrize(
    ("name", "size", "at", "keys", "theme"),
    [
        ("small", (80, 24), 1200, (), None),
        ("middle", (120, 40), 1200, (), None),
        ("large", (200, 60), 2436, (), None),
        ("light", (120, 40), 1200, (), "textual-light"),
        ("help", (120, 40), 1200, ("?",), None),
        ("failure", (120, 40), 878, (), None),
        ("filtered", (80, 24), 878, ("f", *"refund", "enter"), None),
        ("found", (120, 40), 1504, ("i",), None),
        ("causes", (80, 24), 1659, ("t",), "textual-light"),
        ("code", (120, 40), 2436, ("e",), None),
    ],
)
async def test_picture(
    name: str,
    size: tuple[int, int],
    at: int,
    keys: tuple[str, ...],
    theme: str | None,
    shop: Any,
    sit: Any,
    pictures_wanted: bool,
) -> None:
    async with sit(shop.workspace, shop.wrong, at=at, size=size, theme=theme) as seat:
        await seat.press(*keys)
        if keys and keys[0] == "?":
            # A cursor that blinks is no part of a picture.
            seat.app.screen.query_one("Input").cursor_blink = False
            await seat.still()
        drawn = await _at_rest(seat)
    kept = PICTURES / f"{name}.svg"
    if pictures_wanted:
        PICTURES.mkdir(exist_ok=True)
        kept.write_text(drawn)
    assert drawn == kept.read_text(), f"{kept.name} differs; REFOLD_PICTURES=update draws it anew"


async def test_what_a_step_draws_is_all_that_changed(shop: Any, sit: Any) -> None:
    """Steps draw single lines; drawn whole, the screen would look the same."""
    async with sit(shop.workspace, shop.wrong, at=1200) as seat:
        for key in ("]", "]", "[", ")"):
            await seat.press(key)
            stepped = await _at_rest(seat)
            for pane in seat.app.screen.query(LineView):
                pane.refresh()
            assert await _at_rest(seat) == stepped, key
