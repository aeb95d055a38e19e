"""Texts as literals of SQL, where a parameter can't stand."""


def quoted(text: str) -> str:
    """The text between quotes, with those in it doubled."""
    return "'" + text.replace("'", "''") + "'"
