"""A function in the syntax tree of a handler's file, with the parameters that its callers fill."""

import ast
from dataclasses import dataclass

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class FunctionNode:
    """A function; `is_bound` says that `self` precedes its other parameters."""

    node: Definition
    is_bound: bool = False

    @property
    def parameters(self) -> list[str]:
        arguments = self.node.args
        return [a.arg for a in (*arguments.posonlyargs, *arguments.args)][self._self_count :]

    @property
    def self_name(self) -> str | None:
        return (
            [*self.node.args.posonlyargs, *self.node.args.args][0].arg if self._self_count else None
        )

    @property
    def _self_count(self) -> int:
        decorators = getattr(self.node, "decorator_list", ())
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in decorators)
        return int(self.is_bound and not static and bool(self.node.args.args))
