"""Static analysis of a handler: which of its lines may change which paths of the state.

A path begins at the state's parameter and follows subscripts, attributes, and names bound to a part of
the state; a computed step matches any step. The result holds what can happen: no line is reported for a
path that it can't change. Code in other files is not followed.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat, takewhile

from replay.document.paths import DocumentPath
from replay.handlers.function_node import FunctionNode

StatePath = tuple[str | None, ...]
"""Path in the state; None stands for any step."""
Mutation = tuple[int, StatePath]
"""Line number, and a path that the line may change."""
StatePaths = frozenset[StatePath]
PathsByName = dict[str, StatePaths]
"""The parts of the state that the names of a function may refer to."""

_NO_PATHS: StatePaths = frozenset()
_ROOT_PATH: StatePaths = frozenset({()})
_MAX_DEPTH = 40

_KEYED_MUTATORS = frozenset(("pop", "setdefault"))
_MUTATORS = frozenset(
    ("append", "appendleft", "extend", "extendleft", "insert", "remove", "clear", "popitem")
    + ("popleft", "rotate", "add", "discard", "sort", "reverse", "subtract", "difference_update")
    + ("intersection_update", "symmetric_difference_update", "move_to_end")
)
_COPY_FUNCTIONS = frozenset(("copy", "deepcopy", "dict", "replace", "evolve", "_replace"))


def may_change(state_path: StatePath, path: DocumentPath) -> bool:
    """Whether a change at one path may change the value at another: one contains the other."""
    return all(
        step is None or step == str(wanted_step)
        for step, wanted_step in zip(state_path, path, strict=False)
    )


def find_mutations(
    handler: FunctionNode, helpers: Mapping[str, FunctionNode], methods: Mapping[str, FunctionNode]
) -> tuple[Mutation, ...]:
    """Return what the lines of a handler may change, directly or by a helper that gets the state."""
    parameters = handler.parameters
    if not parameters:
        return ()
    walk = _MutationWalk(handler, helpers, methods, follow_depth=1, return_is_state=True)
    walk.run({parameters[0]: _ROOT_PATH})
    return tuple(dict.fromkeys(walk.mutations))


class _MutationWalk:
    """Walks through the statements of one function in order, and records mutations."""

    def __init__(
        self,
        function: FunctionNode,
        helpers: Mapping[str, FunctionNode],
        methods: Mapping[str, FunctionNode],
        *,
        follow_depth: int,
        return_is_state: bool,
    ) -> None:
        self._function = function
        self._helpers = helpers
        self._methods = methods
        self._follow_depth = follow_depth
        self._return_is_state = return_is_state
        self.mutations: list[Mutation] = []
        nodes = ast.walk(function.node)
        returned = (node.value for node in nodes if isinstance(node, ast.Return))
        self._returned_names = {value.id for value in returned if isinstance(value, ast.Name)}

    def run(self, names: PathsByName) -> None:
        node = self._function.node
        if isinstance(node, ast.Lambda):
            self._walk_expression(node.body, names)
            self._handle_returned_value(node.body, names)
        else:
            self._walk_statements(node.body, names)

    def _record_mutation(self, node: ast.AST, state_paths: StatePaths) -> None:
        lines = range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1)
        self.mutations += [(line, steps) for line in lines for steps in state_paths]

    # Statements

    def _walk_statements(self, body: Sequence[ast.stmt], names: PathsByName) -> None:
        for statement in body:
            self._walk_statement(statement, names)

    def _walk_statement(self, node: ast.stmt, names: PathsByName) -> None:  # noqa: PLR0912 - one case per kind
        match node:
            case ast.Assign(targets=targets, value=value):
                self._walk_expression(value, names)
                for target in targets:
                    self._walk_assignment(target, value, names, node)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._walk_expression(value, names)
                self._walk_assignment(target, value, names, node)
            case ast.AugAssign(target=target, op=op, value=value):
                self._walk_expression(value, names)
                if not isinstance(target, ast.Name):
                    self._record_mutation(node, self._state_paths_of(target, names))
                elif isinstance(op, ast.BitOr):
                    self._record_members(value, self._state_paths_of(target, names), names)
            case ast.Delete(targets=targets):
                for target in targets:
                    if isinstance(target, ast.Name):
                        names.pop(target.id, None)
                    else:
                        self._record_mutation(node, self._state_paths_of(target, names))
            case ast.Return(value=value) if value is not None:
                self._walk_expression(value, names)
                self._handle_returned_value(value, names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.pop(node.name, None)
            case _:
                self._walk_compound(node, names)

    def _walk_compound(self, node: ast.stmt, names: PathsByName) -> None:  # noqa: PLR0912 - one case per kind
        match node:
            case ast.For() | ast.AsyncFor() | ast.While():
                if not isinstance(node, ast.While):
                    self._walk_expression(node.iter, names)
                for _ in range(
                    2
                ):  # a name bound at the end of the body is bound in the next pass too
                    inside = dict(names)
                    if isinstance(node, ast.While):
                        self._walk_expression(node.test, inside)
                    else:
                        self._bind_items(node.target, node.iter, inside)
                    self._walk_statements(node.body, inside)
                    _merge_names(names, inside)
                self._walk_statements(node.orelse, names)
            case ast.If():
                self._walk_expression(node.test, names)
                self._walk_branches([node.body, node.orelse], names)
            case ast.Try() | ast.TryStar():
                inside = dict(names)
                self._walk_statements(node.body, inside)
                _merge_names(names, inside)
                self._walk_branches([node.orelse, *(h.body for h in node.handlers)], names)
                self._walk_statements(node.finalbody, names)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self._walk_expression(item.context_expr, names)
                    if item.optional_vars is not None:
                        self._bind(item.optional_vars, _NO_PATHS, names)
                self._walk_statements(node.body, names)
            case ast.Match():
                self._walk_expression(node.subject, names)
                self._walk_branches([[], *(case.body for case in node.cases)], names)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._walk_expression(child, names)

    def _walk_branches(self, bodies: Sequence[Sequence[ast.stmt]], names: PathsByName) -> None:
        """Walk through alternatives; afterwards names have the bindings of those that don't return or raise."""
        ends: PathsByName = {}
        for body in bodies:
            inside = dict(names)
            self._walk_statements(body, inside)
            if not (body and isinstance(body[-1], (ast.Return, ast.Raise))):
                _merge_names(ends, inside)
        names.clear()
        names.update(ends)

    def _walk_assignment(
        self, target: ast.expr, value: ast.expr, names: PathsByName, node: ast.stmt
    ) -> None:
        if isinstance(target, (ast.Subscript, ast.Attribute)):
            self._record_mutation(node, self._state_paths_of(target, names))
        elif isinstance(target, ast.Name):
            copied = target.id in self._returned_names and self._is_copy_of_state(value, names)
            names[target.id] = _ROOT_PATH if copied else self._state_paths_of(value, names)
            if copied:
                self._record_new_members(value, names)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, _NO_PATHS, names)
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            paired = values if len(values) == len(target.elts) else repeat(ast.Constant(None))
            for one, its in zip(target.elts, paired, strict=False):
                self._walk_assignment(one, its, names, node)

    # The returned value is the new state

    def _handle_returned_value(self, value: ast.expr, names: PathsByName) -> None:
        if not self._return_is_state or (isinstance(value, ast.Constant) and value.value is None):
            return
        if isinstance(value, ast.IfExp):
            self._handle_returned_value(value.body, names)
            self._handle_returned_value(value.orelse, names)
        elif () in self._state_paths_of(value, names) or self._find_helper(value) is not None:
            return
        elif self._is_copy_of_state(value, names):
            self._record_new_members(value, names)
        else:
            self._record_mutation(value, _ROOT_PATH)

    def _is_copy_of_state(self, value: ast.expr, names: PathsByName) -> bool:
        """Whether an expression copies the old state and changes members of the copy."""
        match value:
            case ast.Dict(keys=keys, values=values):
                spread = (v for k, v in zip(keys, values, strict=True) if k is None)
                return any(() in self._state_paths_of(v, names) for v in spread)
            case ast.BinOp(left=left, op=ast.BitOr()):
                return () in self._state_paths_of(left, names) or self._is_copy_of_state(
                    left, names
                )
            case ast.Call(func=ast.Attribute(value=owner, attr=("copy" | "_replace"))) if (
                () in self._state_paths_of(owner, names)
            ):
                return True
            case ast.Call(func=function, args=[first, *_]):
                named = getattr(function, "id", getattr(function, "attr", ""))
                return named in _COPY_FUNCTIONS and () in self._state_paths_of(first, names)
        return False

    def _record_new_members(self, value: ast.expr, names: PathsByName) -> None:
        match value:
            case ast.BinOp(left=left, right=right):
                self._record_new_members(left, names)
                self._record_members(right, _ROOT_PATH, names)
            case ast.Call(args=args, keywords=keywords):
                for keyword in keywords:
                    self._record_mutation(keyword, frozenset({(keyword.arg,)}))
                for argument in args[1:]:
                    self._record_members(argument, _ROOT_PATH, names)
            case ast.Dict():
                self._record_members(value, _ROOT_PATH, names)

    def _record_members(self, value: ast.expr, state_paths: StatePaths, names: PathsByName) -> None:
        """Record that the members of a mapping are written to a part of the state."""
        if not isinstance(value, ast.Dict):
            self._record_mutation(value, _append_step(state_paths, None))
            return
        for key, member in zip(value.keys, value.values, strict=True):
            if key is None:
                if not state_paths & self._state_paths_of(member, names):
                    self._record_mutation(member, _append_step(state_paths, None))
                continue
            at = _append_step(state_paths, _literal_step(key))
            if at != self._state_paths_of(member, names):
                self._record_mutation(key, at)
                self._record_mutation(member, at)

    # Expressions

    def _walk_expression(self, node: ast.AST, names: PathsByName) -> None:
        match node:
            case ast.Lambda():
                return
            case ast.NamedExpr(target=target, value=value):
                self._walk_expression(value, names)
                names[target.id] = self._state_paths_of(value, names)
                return
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                names = dict(names)
                for generator in node.generators:
                    self._walk_expression(generator.iter, names)
                    self._bind_items(generator.target, generator.iter, names)
            case ast.Call():
                self._walk_call(node, names)
        for child in ast.iter_child_nodes(node):
            self._walk_expression(child, names)

    def _walk_call(self, node: ast.Call, names: PathsByName) -> None:
        helper = self._find_helper(node)
        if helper is not None:
            self._walk_helper_call(node, helper, names)
        elif isinstance(node.func, ast.Attribute):
            state_paths, name = self._state_paths_of(node.func.value, names), node.func.attr
            if name in _MUTATORS:
                self._record_mutation(node, _append_step(state_paths, None))
            elif name in _KEYED_MUTATORS:
                self._record_mutation(
                    node,
                    _append_step(state_paths, _literal_step(node.args[0]) if node.args else None),
                )
            elif name == "update":
                for argument in node.args:
                    self._record_members(argument, state_paths, names)
                for keyword in node.keywords:
                    self._record_mutation(keyword, _append_step(state_paths, keyword.arg))
        elif getattr(node.func, "id", "") in ("setattr", "delattr") and len(node.args) > 1:
            self._record_mutation(
                node,
                _append_step(
                    self._state_paths_of(node.args[0], names), _literal_step(node.args[1])
                ),
            )

    def _find_helper(self, node: ast.expr) -> FunctionNode | None:
        """Return the function or method of the same file that a call calls."""
        match node:
            case ast.Call(func=ast.Name(id=name)):
                return self._helpers.get(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)):
                own = self._function.self_name
                return self._methods.get(name) if own is not None and owner == own else None
        return None

    def _walk_helper_call(self, node: ast.Call, helper: FunctionNode, names: PathsByName) -> None:
        if not self._follow_depth:
            return
        positional = takewhile(lambda argument: not isinstance(argument, ast.Starred), node.args)
        given = dict(zip(helper.parameters, positional, strict=False))
        given |= {k.arg: k.value for k in node.keywords if k.arg is not None}
        argument_paths = {name: self._state_paths_of(value, names) for name, value in given.items()}
        if any(argument_paths.values()):
            inner = _MutationWalk(
                helper, self._helpers, self._methods, follow_depth=0, return_is_state=False
            )
            inner.run(argument_paths)
            self._record_mutation(node, frozenset(steps for _, steps in inner.mutations))

    def _state_paths_of(self, node: ast.expr, names: PathsByName) -> StatePaths:
        """Return the parts of the state that an expression may refer to."""
        match node:
            case ast.Name(id=name):
                return names.get(name, _NO_PATHS)
            case ast.Attribute(value=value, attr=name):
                return _append_step(self._state_paths_of(value, names), name)
            case ast.Subscript(value=value, slice=index):
                return _append_step(self._state_paths_of(value, names), _literal_step(index))
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=[key, *_]) if name in (
                "get",
                "setdefault",
            ):
                return _append_step(self._state_paths_of(value, names), _literal_step(key))
            case ast.BoolOp(values=values):
                return frozenset().union(*(self._state_paths_of(value, names) for value in values))
            case ast.IfExp(body=body, orelse=orelse):
                return self._state_paths_of(body, names) | self._state_paths_of(orelse, names)
            case ast.NamedExpr(value=value):
                return self._state_paths_of(value, names)
        return _NO_PATHS

    def _bind_items(self, target: ast.expr, iterable: ast.expr, names: PathsByName) -> None:
        """Bind the names of a loop to the items that it iterates over."""
        match iterable:
            case ast.Call(func=ast.Attribute(value=value, attr=("values" | "items") as which)):
                item = _append_step(self._state_paths_of(value, names), None)
                if which == "items" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
                    self._bind(target.elts[0], _NO_PATHS, names)
                    self._bind(target.elts[1], item, names)
                else:
                    self._bind(target, item if which == "values" else _NO_PATHS, names)
            case ast.Call(func=ast.Name(id="enumerate"), args=[value, *_]) if (
                isinstance(target, ast.Tuple) and len(target.elts) == 2
            ):
                self._bind(target.elts[0], _NO_PATHS, names)
                self._bind_items(target.elts[1], value, names)
            case ast.Call(func=ast.Name(id=("list" | "sorted" | "reversed")), args=[value, *_]):
                self._bind_items(target, value, names)
            case _:
                self._bind(target, _append_step(self._state_paths_of(iterable, names), None), names)

    def _bind(self, target: ast.expr, state_paths: StatePaths, names: PathsByName) -> None:
        if isinstance(target, ast.Name):
            names[target.id] = state_paths
        else:
            for name in _bound_names(target):
                names[name] = _NO_PATHS


def _append_step(state_paths: StatePaths, step: str | None) -> StatePaths:
    return frozenset((*steps, step) for steps in state_paths if len(steps) < _MAX_DEPTH)


def _literal_step(node: ast.expr) -> str | None:
    """Return the step of a subscript with a literal key; None if the key is computed."""
    if isinstance(node, ast.Constant) and type(node.value) in (str, int):
        return str(node.value)
    return None


def _merge_names(names: PathsByName, other: PathsByName) -> None:
    for name, state_paths in other.items():
        names[name] = names.get(name, _NO_PATHS) | state_paths


def _bound_names(target: ast.expr) -> Iterator[str]:
    return (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
