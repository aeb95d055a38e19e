"""Texts that any encoding can carry: half a surrogate pair is shown as Python writes it."""

from __future__ import annotations


def carried(text: str) -> str:
    """The text, with what no encoding can carry as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
