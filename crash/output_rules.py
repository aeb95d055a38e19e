"""The rules that every command keeps for any input: about its exit code and its output."""

import json
import re
from collections.abc import Iterator, Sequence

from crash.command import LIMIT_MB, Outcome
from crash.finding import Finding

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that change the direction of writing; JSON data may hold them, messages may not."""
_SHOWS_TRACEBACKS = ("failures",)
"""Commands that print tracebacks of the user's handlers as data."""
_EXIT_CODES = range(5)


def broken_rules(outcome: Outcome, *, may_be_killed: bool = False) -> list[Finding]:
    """Return the rules that a command's end or output breaks."""
    return list(_broken(outcome, may_be_killed=may_be_killed))


def _broken(outcome: Outcome, *, may_be_killed: bool) -> Iterator[Finding]:
    command = " ".join(outcome.arguments)
    if outcome.hang:
        yield Finding("hang", f"{command}: {outcome.hang}")
    elif outcome.memory_mb > LIMIT_MB:
        yield Finding("memory", f"{command}: {outcome.memory_mb:,.0f} MB")
    elif outcome.code < 0 and not may_be_killed:
        yield Finding("crash", f"{command}: ended by signal {-outcome.code}")
    elif outcome.code >= 0 and outcome.code not in _EXIT_CODES:
        yield Finding("exit code", f"{command}: {outcome.code}")
    if outcome.survivors:
        yield Finding("process left", f"{command}: still run: {'; '.join(outcome.survivors)}")
    yield from broken_texts(outcome.arguments, outcome.stdout, outcome.stderr)


def broken_texts(arguments: Sequence[str], stdout: bytes, stderr: bytes) -> Iterator[Finding]:
    """Yield the rules that a command's output breaks."""
    command = " ".join(arguments)
    out, err = (part.decode("utf-8", "replace") for part in (stdout, stderr))
    if "Traceback (most recent" in err or (
        "Traceback (most recent" in out and not any(c in arguments for c in _SHOWS_TRACEBACKS)
    ):
        yield Finding("traceback", f"{command}: {_tail(err or out)}")
    if "Unexpected error" in err:
        yield Finding("Unexpected error", f"{command}: {_tail(err)}")
    for name, text in (("standard output", out), ("standard error", err)):
        found = _CONTROL.search(text)
        if found is None and not (name == "standard output" and "--json" in arguments):
            found = _DIRECTION.search(text)
        if found:
            shown = ascii(text[max(0, found.start() - 40) : found.end() + 20])
            yield Finding("control character", f"{command}: {shown} on {name}")
    if "--json" in arguments and stdout:
        yield from _broken_json(command, out)


def _broken_json(command: str, out: str) -> Iterator[Finding]:
    try:
        _strict(out)
    except ValueError:
        try:
            for line in out.splitlines():
                _strict(line)
        except ValueError as error:
            yield Finding("invalid JSON", f"{command}: {error}: {out[:200]!r}")
    except RecursionError:
        return  # a limit of this parser, not a fault of refold


def _strict(text: str) -> None:
    json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _tail(text: str) -> str:
    return text.strip()[-600:]
