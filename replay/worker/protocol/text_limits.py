"""Texts that any encoding can carry, and that are no longer than somebody may want to read."""

from __future__ import annotations

MAX_TEXT_CHARACTERS = 10_000
"""Characters that are kept of what a handler prints or raises."""


def truncate_text(text: str) -> str:
    """The text, or its beginning and how much more there was."""
    return (
        text
        if len(text) <= MAX_TEXT_CHARACTERS
        else f"{text[:MAX_TEXT_CHARACTERS]}… and {len(text) - MAX_TEXT_CHARACTERS:,} more characters"
    )


def escape_surrogates(text: str) -> str:
    """The text, with what no encoding can carry as an escape: half a surrogate pair as Python writes it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
