"""Text from events on its way to a terminal: nothing in it may act on the terminal.

Control characters (C0, C1, DEL) and the marks that reorder text are shown as symbols. Every place
where data is shown goes through here, or through a widget that does.
"""

import re

_SYMBOLS = {code: chr(0x2400 + code) for code in range(0x20)}
_SYMBOLS[0x7F] = "␡"
_SYMBOLS |= {code: "�" for code in range(0x80, 0xA0)}
# Marks that reverse or hide text; and lone surrogates, which no terminal can be sent.
_SYMBOLS |= {code: "�" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F)}
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, with a symbol for every character that isn't for reading."""
    if not _UNSAFE.search(text):
        return text
    return "".join("�" if "\ud800" <= c <= "\udfff" else c for c in text.translate(_SYMBOLS))


def printable_lines(text: str) -> str:
    """The same for text whose line breaks and tabs are meant, such as a traceback."""
    return "\n".join(printable(line.replace("\t", "    ")) for line in text.splitlines())


def shortened(text: str, width: int) -> str:
    """At most `width` characters, with a visible mark where there is more."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
