"""Overrides: changed answers and injected faults for what-if runs.

    [[overrides]]
    port = "rates"
    operation = "rate"                # all if left out
    request = {pair = "EURUSD"}       # members that the request must have; all requests if left out
    from = 1200                       # offsets
    to = 1300
    times = 3                         # only the first 3 calls; all if left out
    chance = 0.1                      # probability for each call
    respond = {rate = "2.00"}         # or another field of `Override`

Chance depends only on the seed, the event and the call, so the same run gives the same faults in any
order of calls. Delays are virtual: a call doesn't wait, and a timeout fires at once.
"""

import copy
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.calls import Answer, AnswerOutcome, Call
from storage.errors import ProjectionError


class PatchError(Exception):
    """A patch that can't be applied; the message continues a sentence that begins with the call."""


class PatchOperation(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One operation of a JSON patch (RFC 6902): `add`, `replace` or `remove`."""

    op: str
    path: str
    value: Any = None


class Override(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"first": "from", "last": "to"}
):
    """Which calls to override, and with what answer."""

    port: str
    operation: str | None = None
    request: Any = UNSET
    first: int = 0
    last: int | None = None
    times: int | None = None
    chance: float = 1.0
    respond: Any = UNSET
    status: int | None = None
    """HTTP status of an answer made from `respond`; 200 if left out."""
    patch: list[PatchOperation] = []
    fail: str | None = None
    delay: float = 0.0
    """Virtual seconds; the call times out if this is at least `timeout`."""
    timeout: float | None = None
    truncate: int | None = None
    """Number of bytes of the answer to keep."""


class OverrideSet:
    """The overrides of one run, and how often each was used."""

    def __init__(self, declared: Sequence[Override] = (), seed: int = 0) -> None:
        self._declared = declared
        self._seed = seed
        self._use_counts: Counter[int] = Counter()

    def find_override(self, call: Call) -> Override | None:
        """Return the first override that applies to a call, and count its use."""
        for index, override in enumerate(self._declared):
            if self._is_for_call(override, call) and self._is_drawn(index, override, call):
                if override.times is not None and self._use_counts[index] >= override.times:
                    continue
                self._use_counts[index] += 1
                return override
        return None

    def _is_for_call(self, override: Override, call: Call) -> bool:
        return (
            override.port == call.port
            and override.operation in (None, call.operation)
            and override.first <= call.offset
            and (override.last is None or call.offset <= override.last)
            and (override.request is UNSET or _contains(override.request, call.request))
        )

    def _is_drawn(self, index: int, override: Override, call: Call) -> bool:
        if override.chance >= 1:
            return True
        seed_text = f"{self._seed}\0{index}\0{call.offset}\0{call.key}\0{call.fingerprint}\0{call.occurrence}"
        number = int.from_bytes(hashlib.sha256(seed_text.encode()).digest()[:8], "big")
        return number / 2**64 < override.chance


def parse_overrides(tables: Any, origin: str) -> list[Override]:
    """Return the overrides of a file's `[[overrides]]`; raises `ProjectionError`."""
    try:
        return msgspec.convert(tables, list[Override])
    except msgspec.ValidationError as error:
        raise ProjectionError(f"{origin}: invalid override: {error}.") from error


def apply_override(
    override: Override, answer: Answer | None, *, is_http: bool
) -> tuple[Answer | None, str]:
    """Return the overridden answer and the reason; the answer is None if there was none to change.

    Raises `PatchError` if a patch can't be applied.
    """
    if override.fail is not None:
        return Answer.from_error(override.fail), "fails by an override"
    if override.timeout is not None and override.delay >= override.timeout:
        reason = f"timed out after {override.timeout:g} s"
        return Answer.from_error(
            reason, AnswerOutcome.TIMEOUT, override.timeout
        ), "times out by an override"
    if override.respond is not UNSET:
        responded = Answer.from_value(override.respond)
        if is_http:
            responded = replace(
                responded,
                status=override.status or 200,
                headers=[("content-type", "application/json")],
            )
        answer, reason = responded, "answered by an override"
    elif answer is not None and override.patch:
        patched = answer.value["body"] if is_http else answer.value
        for one in override.patch:
            patched = _apply_patch(patched, one)
        answer, reason = (
            replace(answer, body=msgspec.json.encode(patched)),
            "patched by an override",
        )
    else:
        reason = "changed by an override"
    if answer is None:
        return None, reason
    if override.status is not None and is_http:
        answer = replace(answer, status=override.status)
    if override.truncate is not None:
        answer, reason = (
            replace(answer, body=answer.body[: override.truncate]),
            "cut by an override",
        )
    return replace(answer, latency=answer.latency + override.delay), reason


def _contains(expected: Any, value: Any) -> bool:
    """Whether a value has all members of the expected one."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(
            name in value and _contains(member, value[name]) for name, member in expected.items()
        )
    return bool(expected == value)


def _apply_patch(document: Any, patch: PatchOperation) -> Any:
    """Return a document after one operation of a JSON patch; raises `PatchError`."""
    steps = [s.replace("~1", "/").replace("~0", "~") for s in patch.path.split("/")[1:]]
    if patch.op not in ("add", "replace", "remove") or (patch.path and patch.path[0] != "/"):
        raise PatchError(f"has an override whose patch can't do {patch.op!r} at {patch.path!r}")
    if not steps:
        return None if patch.op == "remove" else patch.value
    root = container = copy.deepcopy(document)
    try:
        for step in steps[:-1]:
            container = container[int(step)] if isinstance(container, list) else container[step]
        _change_member(container, steps[-1], patch)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise PatchError(f"has an override whose patch finds nothing at {patch.path!r}") from error
    return root


def _change_member(container: Any, step: str, patch: PatchOperation) -> None:
    if isinstance(container, list):
        index = len(container) if step == "-" else int(step)
        if patch.op == "add":
            container.insert(index, patch.value)
        elif patch.op == "replace":
            container[index] = patch.value
        else:
            del container[index]
    elif patch.op == "remove":
        del container[step]
    else:
        if patch.op == "replace":
            container[step]
        container[step] = patch.value
