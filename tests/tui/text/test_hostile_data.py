"""Data that wants to act on the terminal, or to bring the screen down."""

import json
import re
from typing import Any

import pytest

from storage.workspace.workspace import Workspace

UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
WORDS = {
    "escape": f"a{CLIPBOARD}\x1b[2J\x1b[31mb\x9b31m\x9d0;t\x07\x7f\x00\r\n\tc",
    "markup": "[/x][bold]b[/][@click=app.quit]q[/] $(x) [link=http://x]y",
    "bidi": "a\u202eb\u2066c\u200fd\u061ce\u2028f",
    "wide": "日本語テキスト" * 9 + "e\u0301" * 20 + "👩‍👩‍👧",
}
SOURCE = """
def key(event):
    return event.stream
def apply(state, event):
    if event.type.startswith("F"):
        raise ValueError(event.data["text"])
    state["seen"] = event.data
    state[event.type] = event.stream
"""


async def _travel(seat: Any) -> None:
    for key in ("G", "g", "]", "]", "]", "tab", "tab", "end", "l", "home", "tab", "down", "]", "}"):
        await seat.press(key)
        assert not UNSAFE.search(seat.screen_text())
        assert not UNSAFE.search("".join(map(str, (seat.title("document"), seat.title("event")))))


@pytest.mark.parametrize("name", list(WORDS))
async def test_hostile_text(name: str, log: Any, projection: Any, sit: Any) -> None:
    text = WORDS[name]
    data = {"text": text, text: [text, {text: text}]}
    workspace: Workspace = log(
        {"stream": text, "type": text, "id": text, "data": data, "meta": {text: text}},
        {"stream": text, "type": f"F{text}", "data": data},
        {"stream": "b", "type": "T", "data": {}},
    )
    async with sit(workspace, projection(SOURCE), still=False) as seat:
        await seat.until(lambda: "folded 3" in seat.header)
        await seat.still()
        await _travel(seat)
        await seat.type("/", text)
        await seat.type("f", f"type <> '{text}'")
        await seat.type("d", text)
        await seat.type(":", text)
        await seat.press("G", "?", "escape", "y")
        assert not UNSAFE.search(seat.screen_text())
        assert "\x1b]52" not in seat.app.export_screenshot()


async def test_sizes_and_depths(log: Any, projection: Any, sit: Any) -> None:
    long = "x" * 1_000_000
    deep = "[" * 2_000 + "]" * 2_000
    middle = "[" * 300 + "1" + "]" * 300
    workspace = log(
        {"stream": "s", "type": "T", "data": {"text": long, long[:50_000]: 1}},
        '{"stream": "s", "type": "T", "data": {"deep": ' + middle + "}}",
        '{"stream": "s", "type": "T", "data": {"deep": ' + deep + "}}",
        '{"stream": "s", "type": "T", "data": {"n": ' + "1" * 5_000 + "}}",
        '{"stream": "s", "type": "T", "data": {"half": "\\ud800", "time": 1}}',
        {"stream": long, "type": long[:100_000], "data": {"list": list(range(20_000))}},
        {"stream": "s", "type": "F", "data": {"text": long}},
    )
    events = workspace_events(workspace)
    async with sit(workspace, projection(SOURCE), still=False) as seat:
        await seat.until(lambda: not seat.app.folds.running, 20)
        await seat.still()
        await seat.press("g")
        for _ in range(events):
            await seat.press("]")
            assert not UNSAFE.search(seat.screen_text())
            assert seat.app.state.snapshot is not None
            assert seat.app.state.snapshot.position == seat.position
        assert not [s for s in seat.said if "can't be shown" in s]


async def test_times_at_the_ends_of_the_calendar(log: Any, sit: Any) -> None:
    times = ("0001-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
    workspace = log(*[{"stream": "s", "type": "T", "time": t, "data": {}} for t in times])
    async with sit(workspace) as seat:
        await seat.press("g", "]", "]", "]")
        assert seat.position == 2


def workspace_events(workspace: Workspace) -> int:
    with workspace.reading() as connection:
        row = connection.execute("SELECT count(*) FROM events").fetchone()
    assert row is not None
    return int(json.dumps(row[0]))
