"""Limits the length of captured texts and escapes what UTF-8 can't encode."""

from __future__ import annotations

MAX_TEXT_CHARACTERS = 10_000
"""Number of characters that are kept of what a handler prints or raises."""


def truncate_text(text: str) -> str:
    """Return the text; if it is too long, its beginning and the number of characters left out."""
    return (
        text
        if len(text) <= MAX_TEXT_CHARACTERS
        else f"{text[:MAX_TEXT_CHARACTERS]}… and {len(text) - MAX_TEXT_CHARACTERS:,} more characters"
    )


def escape_surrogates(text: str) -> str:
    """Return the text with lone surrogates as Python escapes, because UTF-8 can't encode them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
