"""Text from events made safe for the terminal.

Control characters (C0, C1, DEL) and marks that reorder text are shown as symbols. All data shown on
the screen passes through these functions, directly or in a widget.
"""

import re

from rich.cells import cell_len, set_cell_size

_MARKS = (0x061C, 0x200E, 0x200F)
_SYMBOLS = {code: chr(0x2400 + code) for code in range(0x20)}
_SYMBOLS[0x7F] = "␡"
_SYMBOLS |= dict.fromkeys(range(128, 160), "�")
# Marks that reverse or hide text or break its line; lone surrogates can't be encoded for a terminal.
_SYMBOLS |= dict.fromkeys((*range(8232, 8239), *range(8294, 8298), *_MARKS), "�")
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def sanitize_line(text: str) -> str:
    """Return the text on one line, with symbols for characters that are not printable."""
    if not _UNSAFE.search(text):
        return text
    return "".join("�" if "\ud800" <= c <= "\udfff" else c for c in text.translate(_SYMBOLS))


def escape_json(json_text: str) -> str:
    """Return equivalent JSON text in which characters that are not printable are escaped."""
    return _UNSAFE.sub(
        lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", json_text
    )


def shorten(text: str, width: int) -> str:
    """Return at most `width` columns of the text; cut text ends with an ellipsis."""
    # A longer text is cut in any case, so the rest need not be measured.
    seen = text[: width + 1]
    if len(seen) == len(text) and cell_len(seen) <= width:
        return text
    return set_cell_size(seen, max(width - 1, 0)).rstrip() + "…"


def fit_width(text: str, width: int) -> str:
    """Return exactly `width` columns: padded with blanks, or cut with an ellipsis."""
    return set_cell_size(shorten(sanitize_line(text[: width + 1]), width), width)
