"""Text from events on its way to a terminal: nothing in it may act on the terminal.

Control characters (C0, C1, DEL) and the marks that reorder text are shown as symbols. Every place
where data is shown goes through here, or through a widget that does.
"""

import re

from rich.cells import cell_len, set_cell_size

_MARKS = (0x061C, 0x200E, 0x200F)
_SYMBOLS = {code: chr(0x2400 + code) for code in range(0x20)}
_SYMBOLS[0x7F] = "␡"
_SYMBOLS |= dict.fromkeys(range(128, 160), "�")
# Marks that reverse or hide text or break its line; and lone surrogates, which no terminal can be sent.
_SYMBOLS |= dict.fromkeys((*range(8232, 8239), *range(8294, 8298), *_MARKS), "�")
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def sanitize_line(text: str) -> str:
    """The text on one line, with a symbol for every character that isn't for reading."""
    if not _UNSAFE.search(text):
        return text
    return "".join("�" if "\ud800" <= c <= "\udfff" else c for c in text.translate(_SYMBOLS))


def escape_json(json_text: str) -> str:
    """JSON text with the same meaning, in which every character is for reading."""
    return _UNSAFE.sub(
        lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", json_text
    )


def shorten(text: str, width: int) -> str:
    """At most `width` columns, with a visible mark where there is more."""
    # No character is wider than two columns, so what is further back need not be measured.
    seen = text[: width + 1]
    if len(seen) == len(text) and cell_len(seen) <= width:
        return text
    return set_cell_size(seen, max(width - 1, 0)).rstrip() + "…"


def fit_width(text: str, width: int) -> str:
    """Exactly `width` columns: filled with blanks, or cut with a visible mark."""
    return set_cell_size(shorten(sanitize_line(text[: width + 1]), width), width)
