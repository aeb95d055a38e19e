"""The projection contract: the names that a user's module, class or object may define, as one fold.

`key`, `initial`, `upcast`, `merge`, `load`, `DECIMALS` and `INVARIANTS` are optional. A projection
needs `apply(state, event)`, or one `on_<type>(state, event)` for each event type. A handler's
parameters named `key` and `gateway` are filled; a third parameter of any other name gets the gateway.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..protocol.constants import MERGED_EVENT_TYPE
from ..protocol.text_limits import escape_surrogates
from . import aggregates
from .upcasting import UpcastChain

Handler = Callable[[Any, Any, str], Any]
"""Takes state, event and key; returns the new state, None for the same one, or `event.DELETED`."""

ExtraArguments = Tuple[List[Any], Dict[str, Any]]
"""Positional and keyword arguments."""


class ContractError(Exception):
    """The reference names no valid projection; the message is written for the user."""


class Projection:
    """A user's projection with one interface, whether it is a module, a class or an object."""

    def __init__(self, target: Any, name: str, gateway: Any) -> None:
        self.name = name
        self._target = target
        self._gateway = gateway
        self._handlers: Dict[Optional[str], Optional[Handler]] = {}
        self.uses_decimals = bool(getattr(target, "DECIMALS", False))
        self.key: Optional[Callable[[Any], Any]] = getattr(target, "key", None)
        declared_upcast = getattr(target, "upcast", None)
        self.upcast = None if declared_upcast is None else UpcastChain(declared_upcast)
        self._initial = getattr(target, "initial", None)
        names = (name for name in aggregates.EVENT_METHODS if callable(getattr(target, name, None)))
        self._catch_all_name = next(names, "apply")
        """Name of the handler for events of any type."""
        self._catch_all_handler = self._adapt_function(self._catch_all_name)
        declared = parse_invariants(getattr(target, "INVARIANTS", None), name)
        self.invariants = {n: rule for n, rule in declared.items() if callable(rule)}
        self.conditions = {n: rule for n, rule in declared.items() if not callable(rule)}
        """Invariants that are conditions in SQL, such as `sum(state.balance) = 0`."""
        self.handler_names = sorted(n for n in dir(target) if n.startswith("on_"))
        for handled in self.handler_names:
            self._adapt_function(handled)
        if self._catch_all_handler is None and not self.handler_names:
            raise ContractError(
                f"{name} has none of apply(state, event), on_<type>(state, event) and"
                " project(events). Define one of them, or name the object that has it"
            )

    @property
    def merge(self) -> Optional[Callable[[Any, Any, Any], Any]]:
        """The user's `merge(base, left, right)`, which takes JSON values, or None."""
        function = getattr(self._target, "merge", None)
        return function if callable(function) else None

    @property
    def is_routed(self) -> bool:
        """Whether an event's key may differ from its stream, and so must be computed for each event."""
        return self.key is not None or self.upcast is not None

    def find_handler(self, type_name: Optional[str]) -> Optional[Handler]:
        """Return the handler for events of a type, or None."""
        if type_name == MERGED_EVENT_TYPE:
            return self._apply_merged
        if type_name not in self._handlers:
            name = "on_" + re.sub(r"\W", "_", type_name or "")
            self._handlers[type_name] = self._adapt_function(name) or self._catch_all_handler
        return self._handlers[type_name]

    def find_direct_handler(self, type_name: Optional[str]) -> Optional[Callable[[Any, Any], Any]]:
        """Return the user's function for a type if it needs no adapter, or None."""
        function = self._find_function(type_name)
        adapted = function is None or _is_async(function) or _find_extra_parameters(function)
        return None if adapted else function

    def find_user_function(
        self, type_name: Optional[str], key: str
    ) -> Optional[Tuple[Any, ExtraArguments]]:
        """Return the user's function for a type and its arguments after state and event, or None."""
        function = self._find_function(type_name)
        return (
            None
            if function is None
            else (function, _build_argument_filler(function, self._gateway)(key))
        )

    def _apply_merged(self, state: Any, event: Any, _key: str) -> Any:
        document = event.data["state"]
        load = getattr(self._target, "load", None)
        if document is None:
            return event.DELETED
        if not callable(load) and not isinstance(state, (dict, list, str, int, float, type(None))):
            raise TypeError(
                "a %s can't be built from a merged document. Define load(document) in %s."
                % (type(state).__name__, self.name)
            )
        return load(document) if callable(load) else document

    def _find_function(self, type_name: Optional[str]) -> Any:
        if type_name == MERGED_EVENT_TYPE:
            return None
        for name in ("on_" + re.sub(r"\W", "_", type_name or ""), self._catch_all_name):
            function = getattr(self._target, name, None)
            if callable(function):
                return function
        return None

    def initial(self, key: str) -> Any:
        """Return the state of a document before its first event."""
        return {} if self._initial is None else self._initial(key)

    def keys_of(self, event: Any) -> List[str]:
        """Return the keys of the documents that an event reaches, each once.

        Raises TypeError if the user's `key` returns a dict or bytes.
        """
        merged = event.type == MERGED_EVENT_TYPE
        keys = event.stream if self.key is None or merged else self.key(event)
        if keys is None:
            return []
        if isinstance(keys, str):
            return [escape_surrogates(keys)]
        if isinstance(keys, (list, tuple, set, frozenset)) or hasattr(keys, "__next__"):
            return list(
                dict.fromkeys(escape_surrogates(str(key)) for key in keys if key is not None)
            )
        if isinstance(keys, (dict, bytes)):
            raise TypeError(
                "key(event) returned a %s. Return a key, a list of keys, or None."
                % type(keys).__name__
            )
        return [escape_surrogates(str(keys))]

    def _adapt_function(self, name: str) -> Optional[Handler]:
        function = getattr(self._target, name, None)
        if not callable(function):
            return None
        if not _takes_state_and_event(function):
            raise ContractError(f"{self.name}.{name} must take (state, event)")
        if not _find_extra_parameters(function):
            if _is_async(function):
                return lambda state, event, _key: await_result(function(state, event))
            return lambda state, event, _key: function(state, event)
        fill = _build_argument_filler(function, self._gateway)

        def call(state: Any, event: Any, key: str) -> Any:
            first, named = fill(key)
            return function(state, event, *first, **named)

        if _is_async(function):
            return lambda state, event, key: await_result(call(state, event, key))
        return call


def load_projection(reference: str, gateway: Any) -> Projection:
    """Return the projection that `path/to/file.py[:Name]` or `module[:Name]` names.

    Raises `ContractError` if it names none, and what the user's code raises when it is imported.
    """
    target, name = import_target(reference)
    if inspect.isclass(target):
        target = aggregates.adapt_aggregate(target) or target()
    return Projection(target, name, gateway)


def import_target(reference: str) -> Tuple[Any, str]:
    """Return what a reference names, a module or an object in it, and its short name.

    Raises `ContractError` if the module has no such object, and what importing it raises.
    """
    module_or_file, colon, attribute = reference.rpartition(":")
    if not colon or reference.endswith(".py"):
        module_or_file, attribute = reference, ""
    module = (
        _load_file(module_or_file)
        if module_or_file.endswith(".py")
        else importlib.import_module(module_or_file)
    )
    target: Any = module
    name = attribute or os.path.splitext(os.path.basename(module_or_file))[0].rsplit(".", 1)[-1]
    for part in attribute.split(".") if attribute else ():
        if not hasattr(target, part):
            raise ContractError(f"{module_or_file} has nothing called {attribute}")
        target = getattr(target, part)
    return target, name


def _load_file(path: str) -> Any:
    folder, file = os.path.split(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = os.path.splitext(file)[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ContractError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def parse_invariants(declared: Any, name: str) -> Dict[str, Any]:
    """Return the declared invariants by name: functions of the state, or SQL conditions as text.

    `name` is the projection's, for messages. Raises `ContractError` if a declaration is invalid.
    """
    if declared is None:
        return {}
    if isinstance(declared, (list, tuple)):
        declared = {getattr(rule, "__name__", str(rule)): rule for rule in declared}
    if not isinstance(declared, dict):
        raise ContractError(f"{name}.INVARIANTS must be a dict of names to functions or conditions")
    for invariant, rule in declared.items():
        if not isinstance(rule, str) and not callable(rule):
            raise ContractError(
                f"{name}.INVARIANTS[{invariant!r}] must be a function or a condition as text"
            )
    return {escape_surrogates(str(invariant)): rule for invariant, rule in declared.items()}


def await_result(returned: Any) -> Any:
    """Return what a handler returned; run an async handler's coroutine to its end first."""
    return _event_loop().run_until_complete(returned) if inspect.iscoroutine(returned) else returned


@functools.lru_cache(maxsize=None)
def _event_loop() -> Any:
    """Return the event loop that runs all async handlers, one after the other."""
    import asyncio  # noqa: PLC0415 - slow to import, and most projections don't need it

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - inspects its kind
    )


def _takes_state_and_event(function: Any) -> bool:
    """Return whether a function can be called with a state and an event; True if unknown."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    extra = {n: None for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    try:
        signature.bind(None, None, *([None] * _count_further_parameters(signature)), **extra)
    except TypeError:
        return False
    return True


def _count_further_parameters(signature: inspect.Signature) -> int:
    """Return the number of required positional parameters after state and event."""
    positional_kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        p
        for p in signature.parameters.values()
        if p.kind in positional_kinds and p.default is p.empty
    ]
    return max(len(required) - 2, 0)


def _build_argument_filler(function: Any, gateway: Any) -> Callable[[str], ExtraArguments]:
    """Return a function from a key to the user function's arguments after state and event."""
    extra_parameters = _find_extra_parameters(function)
    parameters = inspect.signature(function).parameters if extra_parameters else {}
    named = {
        n for n in extra_parameters if parameters[n].kind is not inspect.Parameter.POSITIONAL_ONLY
    }

    def fill(key: str) -> ExtraArguments:
        filled = {
            name: key if what == "key" else gateway for name, what in extra_parameters.items()
        }
        first = [value for name, value in filled.items() if name not in named]
        return first, {name: filled[name] for name in named}

    return fill


def _find_extra_parameters(function: Any) -> Dict[str, str]:
    """Return the parameters after state and event that refold fills: name to "key" or "gateway"."""
    try:
        parameters: List[Tuple[str, Any]] = list(inspect.signature(function).parameters.items())
    except (TypeError, ValueError):
        return {}
    extra_parameters = {}
    for position, (name, parameter) in enumerate(parameters):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if position >= 2 and name in ("key", "gateway"):
            extra_parameters[name] = name
        elif position == 2 and parameter.default is parameter.empty:
            extra_parameters[name] = "gateway"
    return extra_parameters
