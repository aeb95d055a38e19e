"""Texts and names as SQL has them, where a parameter can't stand."""

import secrets

_TOKEN = secrets.token_hex(6)


def unique_column_name(name: str) -> str:
    """A name for a column of ours that no source has."""
    return f"{name}_{_TOKEN}"


def quote_literal(text: str) -> str:
    """The text between quotes, with those in it doubled."""
    return "'" + text.replace("'", "''") + "'"


def quote_identifier(name: str) -> str:
    """A name of a table or a column, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
