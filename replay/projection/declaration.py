"""What a projection over all events says of itself, as far as its text alone tells.

A SQL file says it in comments of its own lines; a Polars module in names of its own:

    -- refold: own events of stream                     OWN_EVENTS_OF = "stream"
    -- refold: invariant never negative: state.n >= 0   INVARIANTS = {"never negative": "state.n >= 0"}

What the events are told apart by is a column of `events`, or a SQL expression over them.
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
    """What is known of a projection over all events before it is asked."""

    own_events_expression: str | None
    """What tells whose event it is, where every document depends on its own events only."""
    invariants: Mapping[str, str]
    """Conditions by name."""
    files: Mapping[str, str]
    """Its files, with a hash of each."""


def has_event_handlers(text: str) -> bool:
    """Whether a reference names Python code that handles events one by one, as far as can be seen."""
    return not is_program(text) and not is_over_all_events(text)


def is_over_all_events(text: str) -> bool:
    """Whether a reference names a query over all events; reads its file and runs no code."""
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
    """The declaration in a SQL file's comments; raises `ProjectionError` for one that isn't known."""
    own_events_expression = None
    invariants = {}
    for comment in _declaration_comments(text):
        found = _OWN_EVENTS.fullmatch(comment)
        if found and own_events_expression is not None:
            raise ProjectionError(f"{reference.name} says twice what its documents depend on.")
        if found:
            own_events_expression = found[1].rstrip(";")
        elif found := _INVARIANT.fullmatch(comment):
            invariants[found[1]] = found[2]
        else:
            raise ProjectionError(
                f"{reference.name} says {comment!r} in a comment for refold, which knows"
                " 'own events of COLUMN' and 'invariant NAME: CONDITION'."
            )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return ProjectionDeclaration(own_events_expression, invariants, {reference.text: digest})


def _bound_names(node: ast.stmt) -> Iterator[str]:
    """What a statement gives a name to."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)


def _declaration_comments(text: str) -> Iterator[str]:
    """What is said in comments; a text may hold what looks like one."""
    encoded = text.encode()
    for byte_offset, kind in duckdb.tokenize(text):
        if kind == duckdb.token_type.comment:
            line = encoded[byte_offset:].decode().partition("\n")[0]
            if found := _DECLARATION_COMMENT.fullmatch(line.rstrip()):
                yield found[1]


def _statements(path: Path, name: str) -> list[ast.stmt]:
    """The statements of a module, or of the class in it that is named."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []  # whoever loads it will say what is wrong
    for part in name.split(".") if name else ():
        classes = (node for node in body if isinstance(node, ast.ClassDef) and node.name == part)
        body = next((node.body for node in classes), [])
    return body
