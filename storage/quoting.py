"""Literals and identifiers quoted for SQL, for the parts of a statement that can't be parameters."""

import secrets

_TOKEN = secrets.token_hex(6)


def unique_column_name(name: str) -> str:
    """Return a column name that no source uses: the name with a random suffix."""
    return f"{name}_{_TOKEN}"


def quote_literal(text: str) -> str:
    """Return the text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quote_identifier(name: str) -> str:
    """Return the name of a table or column as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
