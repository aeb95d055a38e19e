"""Finds the source lines of a projection's handlers by parsing its files; it never runs them.

A file is read only while its content is what was folded. The lines found then stay right for that
history, even if the file changes later.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File

from replay.document.paths import DocumentPath
from replay.handlers import mutation_analysis
from replay.handlers.function_node import Definition, FunctionNode
from replay.handlers.mutation_analysis import Mutation
from replay.history.catalogue import FoldRecord
from replay.projection.declaration import is_over_all_events
from replay.projection.projection_reference import is_program
from storage import regular_file
from storage.errors import QueryError, summarize_error

Scope = Sequence[ast.stmt]

_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True)
class HandlerSource:
    """The source lines of the handler for a type of event."""

    file: str
    name: str
    """Name of the function: `on_OrderPlaced`, or `apply`."""
    first_line: int
    """Line number of the first line in the file; 1-based."""
    lines: tuple[str, ...]
    mutations: tuple[Mutation, ...]
    """Lines of the handler, each with a path in the state that it may change."""

    def lines_changing(self, paths: Sequence[DocumentPath]) -> frozenset[int]:
        """Return the numbers of the lines that may change the value at one of these paths."""
        return frozenset(
            line
            for line, steps in self.mutations
            if any(mutation_analysis.may_change(steps, path) for path in paths)
        )


class HandlerCode:
    """The handlers of one fold, cached by type of event. Safe to use from any thread."""

    def __init__(self, fold_record: FoldRecord) -> None:
        self.fold_record = fold_record
        named = re.fullmatch(r"(.+\.(?:py|sql))(?::[\w.]+)?", fold_record.reference)
        self._query_file = named[1] if named and is_over_all_events(fold_record.reference) else ""
        """File of the projection if it is a query over all events; else empty."""
        self._content: str | None = None
        self._handlers: dict[str | None, HandlerSource | str] = {}

    def cached_handler(self, type_name: str | None) -> HandlerSource | str | None:
        """Return what `find_handler` found before, or its error message; None if not looked up yet."""
        return self._handlers.get(type_name)

    def find_handler(self, type_name: str | None) -> HandlerSource:
        """Return the handler for a type of event; raises `QueryError` if it can't be shown."""
        found = self._handlers.get(type_name)
        if found is None:
            try:
                found = self._locate_handler(type_name)
            except QueryError as error:
                found = error.message
            self._handlers[type_name] = found
        if isinstance(found, str):
            raise QueryError(found)
        return found

    def _locate_handler(self, type_name: str | None) -> HandlerSource:
        if self._query_file:
            return self._query_handler()
        path, attribute = self._projection_file()
        if self._content is None:
            self._content = self._read_file(path)
        try:
            module = ast.parse(self._content)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise QueryError(f"{path} is not valid Python.") from error
        scope, methods = _find_scope(module, attribute, path)
        name = "on_" + re.sub(r"\W", "_", type_name or "")
        function = _find_function(module.body, scope, name) or _find_function(
            module.body, scope, "apply"
        )
        if function is None:
            raise QueryError(f"{File(path).name} has no handler for {type_name}.")
        node, shown_statement = function
        helpers = _list_functions(module.body, bound=False)
        own_methods = _list_functions(scope, bound=True) if methods else {}
        first, last = _line_range(shown_statement)
        text = self._content.splitlines()[first - 1 : last]
        try:
            mutations = mutation_analysis.find_mutations(
                FunctionNode(node, is_bound=methods), helpers, own_methods
            )
        except RecursionError:
            mutations = ()
        mutations = tuple(t for t in mutations if first <= t[0] <= last)
        return HandlerSource(path, getattr(node, "name", name), first, tuple(text), mutations)

    def _query_handler(self) -> HandlerSource:
        """Return the whole file of a query over all events: any event may change any document."""
        path = next((path for path in self.fold_record.files if path == self._query_file), None)
        if path is None:
            raise QueryError(f"The file of {self.fold_record.name} is unknown.")
        return HandlerSource(
            path, File(path).name, 1, tuple(self._read_file(path).splitlines()), ()
        )

    def _projection_file(self) -> tuple[str, str]:
        """Return the projection's file, and its attribute in the file (empty for the module)."""
        if is_program(self.fold_record.reference):
            raise QueryError(
                f"{self.fold_record.name} is a program; refold shows Python handlers only."
            )
        named = re.fullmatch(r"(.+\.py)(?::([\w.]+))?", self.fold_record.reference)
        if named:
            path, attribute = named[1], named[2] or ""
            if path in self.fold_record.files:
                return path, attribute
        else:
            module, _, attribute = self.fold_record.reference.partition(":")
            inside = "/" + module.replace(".", "/")
            ends = (f"{inside}.py", f"{inside}/__init__.py")
            candidates = [path for path in self.fold_record.files if path.endswith(ends)]
            if len(candidates) == 1:
                return candidates[0], attribute
        raise QueryError(f"The file of {self.fold_record.name} is unknown.")

    def _read_file(self, path: str) -> str:
        if not self.fold_record.may_read_files:
            raise QueryError(
                "The workspace is not trusted, so the files that it names are not read;"
                " `refold trust WORKSPACE` allows it."
            )
        try:
            content = regular_file.read_bytes(File(path), _LIMIT_BYTES)
        except (OSError, ValueError) as error:
            raise QueryError(f"{path} can't be read: {summarize_error(error)}.") from error
        if hashlib.sha256(content).hexdigest() != self.fold_record.files[path]:
            raise QueryError(f"{File(path).name} has changed since it was folded.")
        return content.decode("utf-8", "replace")


def _find_scope(module: ast.Module, attribute: str, path: str) -> tuple[Scope, bool]:
    """Return the statements that hold the handlers, and whether they are methods of a class."""
    scope: Scope = module.body
    methods = False
    for part in attribute.split(".") if attribute else ():
        found = _find_class(module.body, scope, part)
        if found is None:
            raise QueryError(
                f"{File(path).name} doesn't define the class of {part}, so its handlers can't be found."
            )
        scope, methods = _statements_with_bases(module.body, found), True
    return scope, methods


def _find_class(module: Scope, scope: Scope, name: str) -> ast.ClassDef | None:
    """Return the class of a name, or the class of the object that has this name."""
    found: ast.ClassDef | None = None
    for statement in _iterate_statements(scope):
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            found = statement
        elif name in _assigned_names(statement) and isinstance(
            statement, (ast.Assign, ast.AnnAssign)
        ):
            value = statement.value
            made_from = getattr(value.func if isinstance(value, ast.Call) else value, "id", name)
            found = None if made_from == name else _find_class(module, module, made_from)
    return found


def _statements_with_bases(module: Scope, found: ast.ClassDef, depth: int = 8) -> Scope:
    """Return the statements of a class, after those of its bases in the same file."""
    body: list[ast.stmt] = []
    for base in reversed(found.bases):
        base_class = _find_class(module, module, base.id) if isinstance(base, ast.Name) else None
        if base_class is not None and base_class is not found and depth:
            body += _statements_with_bases(module, base_class, depth - 1)
    return [*body, *found.body]


def _find_function(module: Scope, scope: Scope, name: str) -> tuple[Definition, ast.stmt] | None:
    """Return the function of a name and the statement to show; raises `QueryError` if it is imported."""
    found: tuple[Definition, ast.stmt] | None = None
    for statement in _iterate_statements(scope):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if statement.name == name:
                found = statement, statement
        elif isinstance(statement, ast.ImportFrom):
            if name in (alias.asname or alias.name for alias in statement.names):
                raise QueryError(f"{name} is imported from {statement.module or '.'}.")
        elif name in _assigned_names(statement) and isinstance(
            statement, (ast.Assign, ast.AnnAssign)
        ):
            value = statement.value
            if isinstance(value, ast.Lambda):
                found = value, statement
            elif isinstance(value, ast.Name) and value.id != name:
                found = _find_function(module, scope, value.id) or _find_function(
                    module, module, value.id
                )
            else:
                raise QueryError(f"{name} is computed, not defined, in line {statement.lineno}.")
    return found


def _list_functions(scope: Scope, *, bound: bool) -> dict[str, FunctionNode]:
    return {
        s.name: FunctionNode(s, bound)
        for s in _iterate_statements(scope)
        if isinstance(s, ast.FunctionDef)
    }


def _iterate_statements(scope: Scope) -> Iterator[ast.stmt]:
    """Statements in order, including those inside `if` and `try`."""
    for statement in scope:
        yield statement
        if isinstance(statement, (ast.If, ast.Try)):
            for part in ("body", "orelse", "handlers", "finalbody"):
                for inner in getattr(statement, part, ()):
                    yield from _iterate_statements(
                        inner.body if isinstance(inner, ast.ExceptHandler) else [inner]
                    )


def _assigned_names(statement: ast.stmt) -> tuple[str, ...]:
    targets = statement.targets if isinstance(statement, ast.Assign) else ()
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return tuple(target.id for target in targets if isinstance(target, ast.Name))


def _line_range(shown: ast.stmt) -> tuple[int, int]:
    """Return the first and the last line of a statement, including decorators."""
    decorators = getattr(shown, "decorator_list", ())
    first = min([shown.lineno, *(d.lineno for d in decorators)])
    return first, shown.end_lineno or shown.lineno
