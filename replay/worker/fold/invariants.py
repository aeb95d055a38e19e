"""Invariants that are functions of the projection's: asked of every state, told when they turn.

A document that isn't there breaks none. One that raises counts as broken, as nobody knows better.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional

from ..protocol.text_limits import carried
from ..protocol.tracebacks import failing

Rule = Callable[[Any], Any]
Broken = Dict[str, str]
"""Name to what was raised; an empty text where the invariant said no."""


class Invariants:
    """Which documents break which invariants."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = dict(rules)
        self._functions = list(rules.values())
        self.broken: Dict[str, Broken] = {}
        """By key, for the documents that break any."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    def hold(self, state: Any) -> bool:
        """Whether a state breaks none: the common case, so it is the quick one."""
        try:
            for function in self._functions:
                if not function(state):
                    return False
        except failing():
            return False
        return True

    def turned(self, key: str, state: Any, *, there: bool = True) -> List[Dict[str, Any]]:
        """What has turned with a document's new state; remembers it."""
        before = self.broken.pop(key, {})
        now = self._broken_by(state) if there else {}
        if now:
            self.broken[key] = now
        names = [name for name in self._rules if (name in now) != (name in before)]
        return [
            {"invariant": name, "key": key, "broken": name in now, "error": now.get(name) or None}
            for name in names
        ]

    def _broken_by(self, state: Any) -> Broken:
        found = {}
        for name, function in self._rules.items():
            said = self._asked(function, state)
            if said is not None:
                found[name] = said
        return found

    @staticmethod
    def _asked(function: Rule, state: Any) -> Optional[str]:
        try:
            return None if function(state) else ""
        except failing() as error:
            text: str = carried(f"{type(error).__name__}: {error}")
            return text
