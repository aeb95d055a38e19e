"""Which lines of a handler may change which places of the state, as far as its text alone tells.

A place is reached from the state's parameter by subscripts, attributes, and names that stand for a
part of it; a step that isn't written out may be any. What is said is what can happen: no line is
named for a place that it can't reach. What goes on in other files isn't followed.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat, takewhile

from replay.document.paths import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Steps = tuple[str | None, ...]
"""A place in the state; None is any step."""
Touched = tuple[int, Steps]
"""The number of a line, and a place that it may change."""
Places = frozenset[Steps]
Names = dict[str, Places]
"""What the names of a function stand for, where that is a part of the state."""

_NOWHERE: Places = frozenset()
_STATE: Places = frozenset({()})
_DEEPEST = 40

_KEYED = frozenset(("pop", "setdefault"))
_CHANGING = frozenset(
    ("append", "appendleft", "extend", "extendleft", "insert", "remove", "clear", "popitem")
    + ("popleft", "rotate", "add", "discard", "sort", "reverse", "subtract", "difference_update")
    + ("intersection_update", "symmetric_difference_update", "move_to_end")
)
_COPYING = frozenset(("copy", "deepcopy", "dict", "replace", "evolve", "_replace"))


@dataclass(frozen=True)
class Function:
    """A function; one that is bound has `self` before its other parameters."""

    node: Definition
    bound: bool = False

    @property
    def parameters(self) -> list[str]:
        arguments = self.node.args
        return [a.arg for a in (*arguments.posonlyargs, *arguments.args)][self._self :]

    @property
    def self_name(self) -> str | None:
        return [*self.node.args.posonlyargs, *self.node.args.args][0].arg if self._self else None

    @property
    def _self(self) -> int:
        decorators = getattr(self.node, "decorator_list", ())
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in decorators)
        return int(self.bound and not static and bool(self.node.args.args))


def concerns(steps: Steps, path: Path) -> bool:
    """Whether a change at one place may change the value at a path: they are one above the other."""
    return all(
        step is None or step == str(wanted) for step, wanted in zip(steps, path, strict=False)
    )


def touched(
    handler: Function, helpers: Mapping[str, Function], methods: Mapping[str, Function]
) -> tuple[Touched, ...]:
    """What the lines of a handler may change, itself or by a helper that it gives the state to."""
    parameters = handler.parameters
    if not parameters:
        return ()
    walk = _Walk(handler, helpers, methods, follow=1, returning=True)
    walk.run({parameters[0]: _STATE})
    return tuple(dict.fromkeys(walk.found))


class _Walk:
    """Follows the statements of one function in their order."""

    def __init__(
        self,
        function: Function,
        helpers: Mapping[str, Function],
        methods: Mapping[str, Function],
        *,
        follow: int,
        returning: bool,
    ) -> None:
        self._function = function
        self._helpers = helpers
        self._methods = methods
        self._follow = follow
        self._returning = returning
        self.found: list[Touched] = []
        nodes = ast.walk(function.node)
        returned = (node.value for node in nodes if isinstance(node, ast.Return))
        self._returned = {value.id for value in returned if isinstance(value, ast.Name)}

    def run(self, names: Names) -> None:
        node = self._function.node
        if isinstance(node, ast.Lambda):
            self._expression(node.body, names)
            self._gives_back(node.body, names)
        else:
            self._block(node.body, names)

    def _touch(self, node: ast.AST, places: Places) -> None:
        lines = range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1)
        self.found += [(line, steps) for line in lines for steps in places]

    # Statements

    def _block(self, body: Sequence[ast.stmt], names: Names) -> None:
        for statement in body:
            self._statement(statement, names)

    def _statement(self, node: ast.stmt, names: Names) -> None:  # noqa: PLR0912 - a case a kind
        match node:
            case ast.Assign(targets=targets, value=value):
                self._expression(value, names)
                for target in targets:
                    self._assign(target, value, names, node)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._expression(value, names)
                self._assign(target, value, names, node)
            case ast.AugAssign(target=target, op=op, value=value):
                self._expression(value, names)
                if not isinstance(target, ast.Name):
                    self._touch(node, self._places(target, names))
                elif isinstance(op, ast.BitOr):
                    self._members(value, self._places(target, names), names)
            case ast.Delete(targets=targets):
                for target in targets:
                    if isinstance(target, ast.Name):
                        names.pop(target.id, None)
                    else:
                        self._touch(node, self._places(target, names))
            case ast.Return(value=value) if value is not None:
                self._expression(value, names)
                self._gives_back(value, names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.pop(node.name, None)
            case _:
                self._compound(node, names)

    def _compound(self, node: ast.stmt, names: Names) -> None:  # noqa: PLR0912 - a case a kind
        match node:
            case ast.For() | ast.AsyncFor() | ast.While():
                if not isinstance(node, ast.While):
                    self._expression(node.iter, names)
                for _ in range(2):  # what a name stands for at the end holds at the next turn too
                    inside = dict(names)
                    if isinstance(node, ast.While):
                        self._expression(node.test, inside)
                    else:
                        self._iterate(node.target, node.iter, inside)
                    self._block(node.body, inside)
                    _merge(names, inside)
                self._block(node.orelse, names)
            case ast.If():
                self._expression(node.test, names)
                self._branches([node.body, node.orelse], names)
            case ast.Try() | ast.TryStar():
                inside = dict(names)
                self._block(node.body, inside)
                _merge(names, inside)
                self._branches([node.orelse, *(h.body for h in node.handlers)], names)
                self._block(node.finalbody, names)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self._expression(item.context_expr, names)
                    if item.optional_vars is not None:
                        self._bind(item.optional_vars, _NOWHERE, names)
                self._block(node.body, names)
            case ast.Match():
                self._expression(node.subject, names)
                self._branches([[], *(case.body for case in node.cases)], names)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._expression(child, names)

    def _branches(self, bodies: Sequence[Sequence[ast.stmt]], names: Names) -> None:
        """One of these is gone through; what comes after it knows only those that don't leave."""
        ends: Names = {}
        for body in bodies:
            inside = dict(names)
            self._block(body, inside)
            if not (body and isinstance(body[-1], (ast.Return, ast.Raise))):
                _merge(ends, inside)
        names.clear()
        names.update(ends)

    def _assign(self, target: ast.expr, value: ast.expr, names: Names, node: ast.stmt) -> None:
        if isinstance(target, (ast.Subscript, ast.Attribute)):
            self._touch(node, self._places(target, names))
        elif isinstance(target, ast.Name):
            copied = target.id in self._returned and self._copies(value, names)
            names[target.id] = _STATE if copied else self._places(value, names)
            if copied:
                self._new_members(value, names)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, _NOWHERE, names)
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            paired = values if len(values) == len(target.elts) else repeat(ast.Constant(None))
            for one, its in zip(target.elts, paired, strict=False):
                self._assign(one, its, names, node)

    # What is given back is the new state

    def _gives_back(self, value: ast.expr, names: Names) -> None:
        if not self._returning or (isinstance(value, ast.Constant) and value.value is None):
            return
        if isinstance(value, ast.IfExp):
            self._gives_back(value.body, names)
            self._gives_back(value.orelse, names)
        elif () in self._places(value, names) or self._helper(value) is not None:
            return
        elif self._copies(value, names):
            self._new_members(value, names)
        else:
            self._touch(value, _STATE)

    def _copies(self, value: ast.expr, names: Names) -> bool:
        """Whether an expression makes a new state from the one before, with other members."""
        match value:
            case ast.Dict(keys=keys, values=values):
                spread = (v for k, v in zip(keys, values, strict=True) if k is None)
                return any(() in self._places(v, names) for v in spread)
            case ast.BinOp(left=left, op=ast.BitOr()):
                return () in self._places(left, names) or self._copies(left, names)
            case ast.Call(func=ast.Attribute(value=owner, attr=("copy" | "_replace"))) if (
                () in self._places(owner, names)
            ):
                return True
            case ast.Call(func=function, args=[first, *_]):
                named = getattr(function, "id", getattr(function, "attr", ""))
                return named in _COPYING and () in self._places(first, names)
        return False

    def _new_members(self, value: ast.expr, names: Names) -> None:
        match value:
            case ast.BinOp(left=left, right=right):
                self._new_members(left, names)
                self._members(right, _STATE, names)
            case ast.Call(args=args, keywords=keywords):
                for keyword in keywords:
                    self._touch(keyword, frozenset({(keyword.arg,)}))
                for argument in args[1:]:
                    self._members(argument, _STATE, names)
            case ast.Dict():
                self._members(value, _STATE, names)

    def _members(self, value: ast.expr, places: Places, names: Names) -> None:
        """The members of a mapping become those of a place."""
        if not isinstance(value, ast.Dict):
            self._touch(value, _below(places, None))
            return
        for key, member in zip(value.keys, value.values, strict=True):
            if key is None:
                if not places & self._places(member, names):
                    self._touch(member, _below(places, None))
                continue
            at = _below(places, _step(key))
            if at != self._places(member, names):
                self._touch(key, at)
                self._touch(member, at)

    # Expressions

    def _expression(self, node: ast.AST, names: Names) -> None:
        match node:
            case ast.Lambda():
                return
            case ast.NamedExpr(target=target, value=value):
                self._expression(value, names)
                names[target.id] = self._places(value, names)
                return
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                names = dict(names)
                for generator in node.generators:
                    self._expression(generator.iter, names)
                    self._iterate(generator.target, generator.iter, names)
            case ast.Call():
                self._call(node, names)
        for child in ast.iter_child_nodes(node):
            self._expression(child, names)

    def _call(self, node: ast.Call, names: Names) -> None:
        helper = self._helper(node)
        if helper is not None:
            self._called(node, helper, names)
        elif isinstance(node.func, ast.Attribute):
            places, name = self._places(node.func.value, names), node.func.attr
            if name in _CHANGING:
                self._touch(node, _below(places, None))
            elif name in _KEYED:
                self._touch(node, _below(places, _step(node.args[0]) if node.args else None))
            elif name == "update":
                for argument in node.args:
                    self._members(argument, places, names)
                for keyword in node.keywords:
                    self._touch(keyword, _below(places, keyword.arg))
        elif getattr(node.func, "id", "") in ("setattr", "delattr") and len(node.args) > 1:
            self._touch(node, _below(self._places(node.args[0], names), _step(node.args[1])))

    def _helper(self, node: ast.expr) -> Function | None:
        """The function of the same file that is called."""
        match node:
            case ast.Call(func=ast.Name(id=name)):
                return self._helpers.get(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)):
                own = self._function.self_name
                return self._methods.get(name) if own is not None and owner == own else None
        return None

    def _called(self, node: ast.Call, helper: Function, names: Names) -> None:
        if not self._follow:
            return
        placed = takewhile(lambda argument: not isinstance(argument, ast.Starred), node.args)
        given = dict(zip(helper.parameters, placed, strict=False))
        given |= {k.arg: k.value for k in node.keywords if k.arg is not None}
        known = {name: self._places(value, names) for name, value in given.items()}
        if any(known.values()):
            inner = _Walk(helper, self._helpers, self._methods, follow=0, returning=False)
            inner.run(known)
            self._touch(node, frozenset(steps for _, steps in inner.found))

    def _places(self, node: ast.expr, names: Names) -> Places:
        """The parts of the state that an expression may stand for."""
        match node:
            case ast.Name(id=name):
                return names.get(name, _NOWHERE)
            case ast.Attribute(value=value, attr=name):
                return _below(self._places(value, names), name)
            case ast.Subscript(value=value, slice=index):
                return _below(self._places(value, names), _step(index))
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=[key, *_]) if name in (
                "get",
                "setdefault",
            ):
                return _below(self._places(value, names), _step(key))
            case ast.BoolOp(values=values):
                return frozenset().union(*(self._places(value, names) for value in values))
            case ast.IfExp(body=body, orelse=orelse):
                return self._places(body, names) | self._places(orelse, names)
            case ast.NamedExpr(value=value):
                return self._places(value, names)
        return _NOWHERE

    def _iterate(self, target: ast.expr, over: ast.expr, names: Names) -> None:
        """Names for the items of what is gone through."""
        match over:
            case ast.Call(func=ast.Attribute(value=value, attr=("values" | "items") as which)):
                item = _below(self._places(value, names), None)
                if which == "items" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
                    self._bind(target.elts[0], _NOWHERE, names)
                    self._bind(target.elts[1], item, names)
                else:
                    self._bind(target, item if which == "values" else _NOWHERE, names)
            case ast.Call(func=ast.Name(id="enumerate"), args=[value, *_]) if (
                isinstance(target, ast.Tuple) and len(target.elts) == 2
            ):
                self._bind(target.elts[0], _NOWHERE, names)
                self._iterate(target.elts[1], value, names)
            case ast.Call(func=ast.Name(id=("list" | "sorted" | "reversed")), args=[value, *_]):
                self._iterate(target, value, names)
            case _:
                self._bind(target, _below(self._places(over, names), None), names)

    def _bind(self, target: ast.expr, places: Places, names: Names) -> None:
        if isinstance(target, ast.Name):
            names[target.id] = places
        else:
            for name in _bound(target):
                names[name] = _NOWHERE


def _below(places: Places, step: str | None) -> Places:
    return frozenset((*steps, step) for steps in places if len(steps) < _DEEPEST)


def _step(node: ast.expr) -> str | None:
    """The step that a subscript takes, where it is written out."""
    if isinstance(node, ast.Constant) and type(node.value) in (str, int):
        return str(node.value)
    return None


def _merge(names: Names, other: Names) -> None:
    for name, places in other.items():
        names[name] = names.get(name, _NOWHERE) | places


def _bound(target: ast.expr) -> Iterator[str]:
    return (node.id for node in ast.walk(target) if isinstance(node, ast.Name))
