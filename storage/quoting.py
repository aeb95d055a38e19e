"""Texts and names as SQL has them, where a parameter can't stand."""


def quoted(text: str) -> str:
    """The text between quotes, with those in it doubled."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name of a table or a column, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
