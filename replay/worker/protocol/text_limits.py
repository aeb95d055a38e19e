"""Texts that any encoding can carry, and that are no longer than somebody may want to read."""

from __future__ import annotations

MOST = 10_000
"""Characters that are kept of what a handler prints or raises."""


def bounded(text: str) -> str:
    """The text, or its beginning and how much more there was."""
    return text if len(text) <= MOST else f"{text[:MOST]}… and {len(text) - MOST:,} more characters"


def carried(text: str) -> str:
    """The text, with what no encoding can carry as an escape: half a surrogate pair as Python writes it."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
