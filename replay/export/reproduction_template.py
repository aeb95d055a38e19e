"""A test that reproduces a finding of refold: it fails with the faulty code, and passes with the fix.

It needs only pytest and the projection. To test other code:
REFOLD_PROJECTION=path/to/fixed.py pytest
"""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import importlib
import importlib.util
import inspect
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

# The finding
PROJECTION = ""
FOLDER = ""
EVENTS = "events.jsonl"
CALLS = "calls.jsonl"
KEY: str | None = None
OFFSET = 0
EXPECTED: dict[tuple[str | int, ...], str] = {}
INVARIANTS: list[str] = []
# How

DELETED = type("Deleted", (), {"__repr__": lambda _: "DELETED"})()
ABSENT = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()


def test_the_handler_does_not_raise() -> None:
    replay_document(_load_projection())


def test_the_state_is_as_expected() -> None:
    state = to_plain_value(replay_document(_load_projection()))
    wrong = []
    for path, text in EXPECTED.items():
        found = _value_at(state, path)
        if not _is_equal(found, json.loads(text, parse_float=Decimal) if text else ABSENT):
            wrong.append(f"{'.'.join(map(str, path)) or '$'} is {found!r}, not {text or 'ABSENT'}")
    assert not wrong, "; ".join(wrong)


def test_the_invariants_hold() -> None:
    projection = _load_projection()
    rules = projection.INVARIANTS
    if isinstance(rules, dict):
        rules = {str(name): rule for name, rule in rules.items()}
    else:
        rules = {getattr(rule, "__name__", str(rule)): rule for rule in rules}
    state = replay_document(projection)
    for name in INVARIANTS:
        assert state is ABSENT or rules[name](state), f"{name}: broken by {to_plain_value(state)}"


class Event:
    """An event as handlers see it."""

    DELETED = DELETED

    def __init__(self, line: str, *, decimals: bool) -> None:
        fields = json.loads(line, parse_float=Decimal if decimals else float)
        self.offset: int = fields["offset"]
        self.stream: str | None = fields["stream"]
        self.type: str | None = fields["type"]
        self.revision: int | None = fields["revision"]
        version: Any = fields["version"]
        written = isinstance(version, str) and version.isdecimal()
        self.version: Any = int(version) if written else version
        self.id: str | None = fields["id"]
        self.correlation_id: str | None = fields["correlation_id"]
        self.causation_id: str | None = fields["causation_id"]
        self.data: Any = fields["data"]
        self.meta: Any = fields["meta"]
        at = fields["time"]
        self.time = None if at is None else datetime.fromisoformat(at.replace("Z", "+00:00"))

    def replace(self, **changes: Any) -> Any:
        event = copy.copy(self)
        for name, value in changes.items():
            setattr(event, name, value)
        return event

    def __repr__(self) -> str:
        return f"<event {self.offset} {self.type} of {self.stream}>"


class Gateway:
    """The outside world: the recorded answers to the calls of one event."""

    Failed = Timeout = RuntimeError

    def __init__(self, event: Any) -> None:
        file = Path(__file__).with_name(CALLS)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        calls = map(json.loads, lines)
        self._event = event
        self._unused_calls = [call for call in calls if call["offset"] == event.offset]

    def query(self, port: str, operation: str, request: Any = None) -> Any:
        wanted_call = [port, operation, request]
        for call in self._unused_calls:
            if [call["port"], call["operation"], call["request"]] == wanted_call:
                self._unused_calls.remove(call)
                if isinstance(call["response"], dict) and list(call["response"]) == ["error"]:
                    raise RuntimeError(call["response"]["error"])
                return call["response"]
        raise RuntimeError(f"no recorded answer for {port}.{operation}({request!r})")

    command = query

    async def aquery(self, port: str, operation: str, request: Any = None) -> Any:
        return self.query(port, operation, request)

    acommand = aquery

    def now(self) -> Any:
        return self._event.time


def replay_document(projection: Any) -> Any:
    """Return the state of the document after its events, or ABSENT.

    If a handler raises at OFFSET, the error is raised; at earlier events, the document stays unchanged.
    """
    state: Any = ABSENT
    for event in _event_factories(projection):
        before = copy.deepcopy(state)
        try:
            for key in _document_keys(projection, event()):
                if KEY is None or key == KEY:
                    state = _apply_event(projection, state, event(), key)
        except Exception:
            if event().offset == OFFSET:
                raise
            state = before
    return state


def _apply_upcast(declared: Any, event: Any) -> Any:
    """Return the event after upcasting.

    Each function of a list is called once; a single function is called until it changes nothing.
    """
    if isinstance(declared, (list, tuple)):
        for function in declared:
            event = _complete_upcast(event, function(event))
        return event
    for _ in range(100):
        after = _complete_upcast(event, declared(event))
        if after is event or all(
            getattr(after, n) == getattr(event, n) for n in ("type", "version", "stream", "data")
        ):
            return event
        event = after
    raise RecursionError("upcast still changed the event after 100 calls")


def _complete_upcast(event: Any, returned: Any) -> Any:
    if returned is None or isinstance(returned, Event):
        return event if returned is None else returned
    fields = {n: getattr(returned, n) for n in vars(event) if hasattr(returned, n)}
    return event.replace(**{**fields, "type": returned.type})


def _event_factories(projection: Any) -> Iterator[Callable[[], Any]]:
    """Yield, for each event, a function that returns a fresh copy of it."""
    decimals = bool(getattr(projection, "DECIMALS", False))
    upcast = getattr(projection, "upcast", None)

    def fresh(line: str) -> Any:
        event = Event(line, decimals=decimals)
        return event if upcast is None else _apply_upcast(upcast, event)

    with Path(__file__).with_name(EVENTS).open(encoding="utf-8") as lines:
        for line in lines:
            yield partial(fresh, line)


def _document_keys(projection: Any, event: Any) -> list[str]:
    key = getattr(projection, "key", None)
    keys = event.stream if key is None else key(event)
    if keys is None:
        return []
    if isinstance(keys, (list, tuple, set, frozenset)) or hasattr(keys, "__next__"):
        return list(dict.fromkeys(str(key) for key in keys if key is not None))
    return [str(keys)]


def _apply_event(projection: Any, state: Any, event: Any, key: str) -> Any:
    name = "on_" + re.sub(r"\W", "_", event.type or "")
    handler = getattr(projection, name, None) or getattr(projection, "apply", None)
    if handler is None:
        return state
    if state is ABSENT:
        initial = getattr(projection, "initial", None)
        state = {} if initial is None else initial(key)
    first, named = _extra_arguments(handler, event, key)
    returned = handler(state, event, *first, **named)
    if inspect.iscoroutine(returned):
        returned = asyncio.run(returned)
    if returned is DELETED:
        return ABSENT
    return state if returned is None else returned


def _extra_arguments(handler: Any, event: Any, key: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that a handler takes after state and event: the key, the gateway."""
    first: list[Any] = []
    named: dict[str, Any] = {}
    for index, (name, parameter) in enumerate(inspect.signature(handler).parameters.items()):
        if index < 2 or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in ("key", "gateway") or (index == 2 and parameter.default is parameter.empty):
            value = key if name == "key" else Gateway(event)
            if parameter.kind is parameter.POSITIONAL_ONLY:
                first.append(value)
            else:
                named[name] = value
    return first, named


def _load_projection() -> Any:
    """Return the projection under test: `file.py`, `file.py:Name` or `module:Name`."""
    reference = os.environ.get("REFOLD_PROJECTION") or PROJECTION
    found = re.fullmatch(r"(.+\.py)(?::([\w.]+))?", reference)
    module_or_file, name = found.groups("") if found else reference.partition(":")[::2]
    for folder in (FOLDER, str(Path(module_or_file).resolve().parent) if found else ""):
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
    target: Any = (
        _load_module(Path(module_or_file)) if found else importlib.import_module(module_or_file)
    )
    for part in name.split(".") if name else ():
        target = getattr(target, part)
    return target() if inspect.isclass(target) else target


def _load_module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} isn't a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def to_plain_value(value: Any) -> Any:
    """Return a state as refold shows it: dicts, lists, texts and numbers."""
    if value is ABSENT or value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return to_plain_value(value.value)
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal):
        return value if value.is_finite() else str(value)
    if isinstance(value, dict):
        return {_member_name(name): to_plain_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        return [to_plain_value(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(
            (to_plain_value(item) for item in value), key=lambda item: json.dumps(item, default=str)
        )
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (timedelta, UUID, complex)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    return {name: to_plain_value(item) for name, item in _object_members(value).items()}


def _member_name(name: Any) -> str:
    name = to_plain_value(name)
    return name if isinstance(name, str) else json.dumps(name, default=str)


def _object_members(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return dict(value._asdict())
    fields = getattr(type(value), "__struct_fields__", None)
    if fields is None and hasattr(value, "__dict__"):
        return dict(vars(value))
    slots = [slot for kind in type(value).__mro__ for slot in getattr(kind, "__slots__", ())]
    return {name: getattr(value, name) for name in fields or slots if hasattr(value, name)}


def _value_at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        if isinstance(value, dict):
            value = value.get(str(step), ABSENT)
        elif isinstance(value, list):
            index = int(step) if str(step).isdecimal() else len(value)
            value = value[index] if index < len(value) else ABSENT
        else:
            return ABSENT
    return value


def _is_equal(found: Any, expected: Any) -> bool:
    """Whether two JSON values are equal; floats may differ in their last digits."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            _is_equal(found[n], expected[n]) for n in found
        )
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_is_equal, found, expected))
    if isinstance(found, float) and isinstance(expected, (int, Decimal)):
        few = len(Decimal(expected).as_tuple().digits) <= 15
        near = few and math.isclose(found, float(expected), rel_tol=1e-12)
        return near or Decimal(repr(found)) == expected
    if isinstance(found, (int, Decimal)) and isinstance(expected, (int, Decimal)):
        return found == expected
    return type(found) is type(expected) and bool(found == expected)
