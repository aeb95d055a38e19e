"""Adapts aggregate classes to projections: each document is an instance of the class.

The class needs a method `apply`, `when`, `evolve` or `mutate` that takes an event. If the module has
a class named like the event's type, the method gets an instance of it, built from the event's data.
A class of the library `eventsourcing` is mutated through that library's mapper, which knows its
stored events.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import sys
from typing import Any, Callable, List, Optional
from uuid import UUID

from ..protocol.user_code import is_foreign_file

EVENT_METHODS = ("apply", "when", "evolve", "mutate")
"""Usual names of the method that takes an event."""


class AggregateError(Exception):
    """The aggregate class can't be instantiated; the message is written for the user."""


def adapt_aggregate(kind: Any) -> Any:
    """Return a projection over instances of a class, or None if the class isn't an aggregate.

    Raises `AggregateError` if the class can't be instantiated.
    """
    if any(base.__module__.split(".")[0] == "eventsourcing" for base in kind.__mro__):
        return _EventSourcingAdapter(kind)
    if any(name.startswith("on_") for name in dir(kind)):
        return None
    for name in EVENT_METHODS:
        method = inspect.getattr_static(kind, name, None)
        if isinstance(method, functools.singledispatchmethod):
            method = method.func
        if inspect.isfunction(method) and len(_required_parameters(method)) == 2:
            return _ClassAdapter(kind, name)
    return None


class _AggregateAdapter:
    """Base of both adapters: takes `key`, `upcast` and other settings from the class's module."""

    def __init__(self, kind: Any) -> None:
        self._kind: Any = kind
        self._module: Any = sys.modules.get(kind.__module__)
        for name in ("key", "upcast", "INVARIANTS", "DECIMALS"):
            value = getattr(self._module, name, None)
            if value is not None:
                setattr(self, name, value)


class _ClassAdapter(_AggregateAdapter):
    """Adapts a class of the user's code."""

    def __init__(self, kind: Any, method: str) -> None:
        super().__init__(kind)
        self._method = method
        # object.__init__ has *args in its signature but accepts no arguments.
        has_own_init = kind.__init__ is not object.__init__
        argument_count = len(_required_parameters(kind.__init__)) - 1 if has_own_init else 0
        if argument_count > 1:
            raise AggregateError(
                f"{kind.__name__}() needs {argument_count} arguments, but refold can pass only the key."
                " Write a module with initial(key) and apply(state, event) for it"
            )
        self._takes_key = argument_count == 1

    def initial(self, key: str) -> Any:
        return self._kind(key) if self._takes_key else self._kind()

    def apply(self, state: Any, event: Any) -> Any:
        return getattr(state, self._method)(self._to_typed_event(event))

    def _to_typed_event(self, event: Any) -> Any:
        kind: Any = getattr(self._module, (event.type or "").rsplit(".", 1)[-1], None)
        if not _is_user_class(kind):
            return event
        return kind(**event.data) if isinstance(event.data, dict) else kind(event.data)


class _EventSourcingAdapter(_AggregateAdapter):
    """Adapts a class of the library `eventsourcing` to that library's stored events."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        persistence: Any = importlib.import_module("eventsourcing.persistence")
        self._stored: Callable[..., Any] = persistence.StoredEvent
        self._mapper: Any = getattr(self._module, "MAPPER", None) or _build_mapper(persistence)

    def initial(self, key: str) -> Any:  # noqa: ARG002 - the first event creates it
        return None

    def apply(self, state: Any, event: Any) -> Any:
        topic = event.type or ""
        if ":" not in topic:
            topic = f"{self._kind.__module__}:{topic}"
        stored = self._stored(
            originator_id=_parse_originator_id(event.stream),
            originator_version=event.revision,
            topic=topic,
            state=json.dumps(event.data).encode(),
        )
        mutated = self._mapper.to_domain_event(stored).mutate(state)
        return event.DELETED if mutated is None else mutated


def _is_user_class(kind: Any) -> bool:
    """Return whether it is a class of the user's code; an event's type may name any object."""
    if not inspect.isclass(kind):
        return False
    module = sys.modules.get(kind.__module__)
    return not is_foreign_file(getattr(module, "__file__", None) or "/site-packages/")


def _build_mapper(persistence: Any) -> Any:
    """Return the mapper that an application of the library has by default."""
    transcoder = persistence.JSONTranscoder()
    for name in ("UUIDAsHex", "DecimalAsStr", "DatetimeAsISO"):
        transcoder.register(getattr(persistence, name)())
    return persistence.Mapper(transcoder)


def _parse_originator_id(stream: Optional[str]) -> Any:
    try:
        return UUID(stream or "")
    except ValueError:
        return stream


def _required_parameters(function: Any) -> List[Any]:
    """Return a function's required positional parameters; an empty list if unknown."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    positional_kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in parameters if p.kind in positional_kinds and p.default is p.empty]
