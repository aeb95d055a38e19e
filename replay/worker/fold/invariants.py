"""Invariants that are functions of the projection's: asked of every state, told when they turn.

A document that isn't there breaks none. One that raises counts as broken, as nobody knows better.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional

from ..protocol.text_limits import escape_surrogates
from ..protocol.tracebacks import list_failure_types

InvariantFunction = Callable[[Any], Any]
BrokenInvariants = Dict[str, str]
"""Name to what was raised; an empty text where the invariant said no."""


class InvariantChecker:
    """Which documents break which invariants."""

    def __init__(self, rules: Mapping[str, InvariantFunction]) -> None:
        self._functions_by_name = dict(rules)
        self._functions = list(rules.values())
        self.broken_by_key: Dict[str, BrokenInvariants] = {}
        """By key, for the documents that break any."""

    def __bool__(self) -> bool:
        return bool(self._functions_by_name)

    def all_hold(self, state: Any) -> bool:
        """Whether a state breaks none: the common case, so it is the quick one."""
        try:
            for function in self._functions:
                if not function(state):
                    return False
        except list_failure_types():
            return False
        return True

    def update(self, key: str, state: Any, *, is_existing: bool = True) -> List[Dict[str, Any]]:
        """What has turned with a document's new state; remembers it."""
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
        found = {}
        for name, function in self._functions_by_name.items():
            error = self._check(function, state)
            if error is not None:
                found[name] = error
        return found

    @staticmethod
    def _check(function: InvariantFunction, state: Any) -> Optional[str]:
        try:
            return None if function(state) else ""
        except list_failure_types() as error:
            text: str = escape_surrogates(f"{type(error).__name__}: {error}")
            return text
