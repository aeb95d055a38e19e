"""The declaration of a projection over all events, read from its text without running it.

A SQL file declares itself in comments, a Polars module in module variables:

    -- refold: own events of stream                     OWN_EVENTS_OF = "stream"
    -- refold: invariant never negative: state.n >= 0   INVARIANTS = {"never negative": "state.n >= 0"}

"own events of" takes a column of `events`, or a SQL expression over its columns. It says that each
document depends only on the events with one value of the expression.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from replay.projection.projection_reference import Reference, is_program, is_sql
from storage.errors import ProjectionError

_DECLARATION_COMMENT = re.compile(r"--\s*refold:\s*(.*?)\s*")
_OWN_EVENTS = re.compile(r"own events of\s+(\S.*)")
_INVARIANT = re.compile(r"invariant\s+(\S[^:]*?)\s*:\s*(\S.*)")
_POLARS_FUNCTION = "project"


@dataclass(frozen=True)
class ProjectionDeclaration:
    """What a projection over all events declares, known before it runs."""

    own_events_expression: str | None
    """The SQL expression that assigns events to documents, if each document depends only on its own
    events; None if it may depend on all events."""
    invariants: Mapping[str, str]
    """Conditions by name."""
    files: Mapping[str, str]
    """The projection's files, each with the hash of its content."""


def has_event_handlers(text: str) -> bool:
    """Return whether a reference names Python code that handles events one by one.

    Reads the file and runs no code, so the answer is a guess.
    """
    return not is_program(text) and not is_over_all_events(text)


def is_over_all_events(text: str) -> bool:
    """Return whether a reference names a query over all events. Reads its file and runs no code."""
    if is_program(text):
        return False
    if is_sql(text):
        return True
    path, _, name = text.rpartition(".py")
    body = _statements(Path(f"{path}.py"), name.removeprefix(":")) if path else []
    bound_names = {name for node in body for name in _bound_names(node)}
    return _POLARS_FUNCTION in bound_names and not any(
        name in ("apply", "when", "evolve", "mutate") or name.startswith("on_")
        for name in bound_names
    )


def parse_sql_declaration(reference: Reference, text: str) -> ProjectionDeclaration:
    """Return the declaration in a SQL file's comments.

    Raises `ProjectionError` if a refold comment is unknown, or "own events of" occurs twice.
    """
    own_events_expression = None
    invariants = {}
    for comment in _declaration_comments(text):
        found = _OWN_EVENTS.fullmatch(comment)
        if found and own_events_expression is not None:
            raise ProjectionError(
                f"{reference.name} declares 'own events of' twice. Keep one of the comments."
            )
        if found:
            own_events_expression = found[1].rstrip(";")
        elif found := _INVARIANT.fullmatch(comment):
            invariants[found[1]] = found[2]
        else:
            raise ProjectionError(
                f"{reference.name} has the unknown refold comment {comment!r}. Use"
                " 'own events of COLUMN' or 'invariant NAME: CONDITION'."
            )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return ProjectionDeclaration(own_events_expression, invariants, {reference.text: digest})


def _bound_names(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)


def _declaration_comments(text: str) -> Iterator[str]:
    """Yield the contents of refold comments.

    The SQL tokenizer finds them, because a string literal may contain what looks like a comment.
    """
    encoded = text.encode()
    for byte_offset, kind in duckdb.tokenize(text):
        if kind == duckdb.token_type.comment:
            line = encoded[byte_offset:].decode().partition("\n")[0]
            if found := _DECLARATION_COMMENT.fullmatch(line.rstrip()):
                yield found[1]


def _statements(path: Path, name: str) -> list[ast.stmt]:
    """Return the statements of a module, or of a class in it; none if it can't be parsed."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []  # the worker reports the error when it loads the file
    for part in name.split(".") if name else ():
        classes = (node for node in body if isinstance(node, ast.ClassDef) and node.name == part)
        body = next((node.body for node in classes), [])
    return body
