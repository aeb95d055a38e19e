"""Addresses: a link to a view, to paste into a report or after `refold open`.

`refold:/logs/orders.refold?at=1204&p=orders@98eb&key=order-17&path=items.sku-7`: an address names
a history and runs nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from storage.errors import PositionError
from storage.workspace.workspace import MAIN_TIMELINE

SCHEME = "refold:"


@dataclass(frozen=True)
class Address:
    """A workspace, and a view of it."""

    workspace: Path
    timeline: str = MAIN_TIMELINE
    position: str = "end"
    """In any form that a person may write."""
    projection: str | None = None
    """The label of the history, such as `orders@98eb`."""
    key: str | None = None
    path: str | None = None
    """Path of the selected value, such as `items.sku-7.qty`."""

    def __str__(self) -> str:
        parts = {
            "at": self.position,
            "timeline": None if self.timeline == MAIN_TIMELINE else self.timeline,
            "p": self.projection,
            "key": self.key,
            "path": self.path,
        }
        named = {name: text for name, text in parts.items() if text is not None}
        query = urlencode(named, safe="@/:,$[]", quote_via=quote)
        return f"{SCHEME}{quote(str(self.workspace))}?{query}"


def parse_address(text: str) -> Address:
    """Return the address in a pasted text; raises `PositionError` if it is not one."""
    place, mark, query = text.strip().removeprefix(SCHEME).partition("?")
    found = dict(parse_qsl(query, keep_blank_values=True))
    foreign = set(found) - {"at", "timeline", "p", "key", "path"}
    if not text.strip().startswith(SCHEME) or not place or not mark or foreign:
        what = f" ({', '.join(sorted(foreign))} is no part of one)" if foreign else ""
        raise PositionError(
            f"{text!r} is no address{what}; one looks as refold:/logs/orders.refold?at=1204&key=…"
        )
    return Address(
        Path(unquote(place)),
        found.get("timeline", MAIN_TIMELINE),
        found.get("at", "end"),
        found.get("p"),
        found.get("key"),
        found.get("path"),
    )
