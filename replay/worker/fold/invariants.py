"""Checks a projection's invariant functions after every change and reports their transitions.

A document that doesn't exist breaks no invariant. An invariant that raises counts as broken.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional

from ..protocol.text_limits import escape_surrogates
from ..protocol.tracebacks import list_failure_types

InvariantFunction = Callable[[Any], Any]
BrokenInvariants = Dict[str, str]
"""Name of each broken invariant to what it raised; an empty text if it returned a false value."""


class InvariantChecker:
    """Keeps track of which documents break which invariants."""

    def __init__(self, rules: Mapping[str, InvariantFunction]) -> None:
        self._functions_by_name = dict(rules)
        self._functions = list(rules.values())
        self.broken_by_key: Dict[str, BrokenInvariants] = {}
        """By key; only documents that break an invariant."""

    def __bool__(self) -> bool:
        return bool(self._functions_by_name)

    def all_hold(self, state: Any) -> bool:
        """Return whether a state breaks no invariant; the fast check for the common case."""
        try:
            for function in self._functions:
                if not function(state):
                    return False
        except list_failure_types():
            return False
        return True

    def update(self, key: str, state: Any, *, is_existing: bool = True) -> List[Dict[str, Any]]:
        """Return the transitions that a document's new state causes, and remember its broken invariants."""
        before = self.broken_by_key.pop(key, {})
        now = self._find_broken(state) if is_existing else {}
        if now:
            self.broken_by_key[key] = now
        names = [name for name in self._functions_by_name if (name in now) != (name in before)]
        return [
            {"invariant": name, "key": key, "broken": name in now, "error": now.get(name) or None}
            for name in names
        ]

    def _find_broken(self, state: Any) -> BrokenInvariants:
        broken = {}
        for name, function in self._functions_by_name.items():
            error = self._check(function, state)
            if error is not None:
                broken[name] = error
        return broken

    @staticmethod
    def _check(function: InvariantFunction, state: Any) -> Optional[str]:
        try:
            return None if function(state) else ""
        except list_failure_types() as error:
            text: str = escape_surrogates(f"{type(error).__name__}: {error}")
            return text
