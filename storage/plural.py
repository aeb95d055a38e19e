"""Counts with their nouns, for messages."""


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `1,200 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
