"""Reproductions: what is needed to show a finding to somebody who doesn't have refold.

A folder with the events that reached a document up to a position, a page that says what is to be
seen and how to look at it again, and a test of the projection's code over these events. Nothing is
run for it: all of it is in the workspace.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.document import paths
from replay.document.diff import decode, encode, readable
from replay.document.paths import ABSENT
from replay.export import event_slice
from replay.history import call_decisions, catalogue
from replay.history.fold_reports import Failure
from replay.history.history import History
from replay.projection.declaration import has_handlers
from storage.errors import PositionError, QueryError
from storage.log.event_log import EventLog
from storage.log.positions import START

EVENTS = "events.jsonl"
CALLS = "calls.jsonl"
_TEMPLATE = Path(__file__).with_name("reproduction_template.py")
_RAISED, _EXPECTED, _INVARIANTS = (
    "the_handler_does_not_raise",
    "the_state_is_as_expected",
    "the_invariants_hold",
)
"""The tests of the template."""


@dataclass(frozen=True)
class Expectation:
    """A value that a document should have had."""

    path: paths.Path
    text: str
    """JSON; empty: nothing should be there."""

    def __str__(self) -> str:
        return f"{paths.write(self.path)} = {self.text or 'nothing'}"

    def holds(self, state: Any) -> bool:
        found = paths.value_at(state, self.path)
        return bool(found == (decode(self.text) if self.text else ABSENT))


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    key: str | None
    events: int
    test: Path | None
    """None: nothing could be asserted, or the projection is a program."""
    asserted: Sequence[str]
    """What the test says, for a person."""
    true_already: Sequence[str]
    """Expectations that the recorded state fulfils, so that they don't show anything wrong."""


@dataclass(frozen=True)
class _Finding:
    """What is to be seen at the position."""

    offset: int
    key: str | None
    state: Any
    failure: Failure | None
    broken: Sequence[str]
    expected: Sequence[Expectation]

    @property
    def tests(self) -> list[str]:
        """What was expected counts most; a handler that raises explains a broken invariant."""
        if self.expected:
            return [_EXPECTED]
        if self.failure is not None:
            return [_RAISED]
        return [_INVARIANTS] if self.broken else []

    @property
    def asserted(self) -> list[str]:
        if self.expected:
            return [
                f"{e} (it was {encode(paths.value_at(self.state, e.path))})" for e in self.expected
            ]
        if self.failure is not None:
            return [f"the handler of {self.failure.type} does not raise {self.failure.error}"]
        return [f"the invariant {name!r} holds" for name in self.broken]


def expectation(text: str) -> Expectation:
    """What a person wrote as PATH=JSON; PATH= says that nothing is there. Raises `QueryError`."""
    parts = text.split("=")
    wrong: QueryError | None = None
    for place in range(1, len(parts)):
        written, value = "=".join(parts[:place]), "=".join(parts[place:]).strip()
        if not written.strip():
            continue
        try:
            path = paths.read(written)
            if value:
                decode(value)
        except QueryError as error:
            wrong = wrong or error
        except (ValueError, RecursionError):
            continue
        else:
            return Expectation(path, value)
    if wrong is not None:
        raise wrong
    raise QueryError(
        f"The expectation {text!r} is not PATH=JSON; write refunded=44.15, or status='\"paid\"'."
    )


def default_folder(history: History, key: str | None, offset: int) -> Path:
    """A folder beside the workspace that is named after the key and the position."""
    return history.workspace.path.resolve().parent / f"{_safe(key or 'event', '@.-')}@{offset}"


def export(
    history: History,
    offset: int,
    key: str | None = None,
    *,
    cwd: str,
    expected: Sequence[Expectation] = (),
    folder: Path | None = None,
    replace: bool = False,
    without_test: bool = False,
) -> Exported:
    """Write the reproduction of a document at a position; the event's first document if no key.

    `cwd` is the folder that the projection imports from. Raises `PositionError` or `QueryError`,
    and writes nothing, where there is no such document, nothing to assert (unless a folder
    `without_test` will do), or something in the folder that may not be replaced.
    """
    finding = _found(history, offset, key, expected)
    if not finding.tests and not without_test:
        raise QueryError(
            f"Nothing was raised or broken in {finding.key!r} at {offset:,}, so say what should be"
            " there: --expect PATH=JSON."
        )
    target = folder or default_folder(history, finding.key, offset)
    name = f"test_{_safe(finding.key or 'event', '')}_at_{offset}.py"
    try:
        if target.is_dir() and any(target.iterdir()) and not replace:
            raise QueryError(
                f"{target} is there already and isn't empty; choose another folder with -o,"
                " or --replace what was exported into it."
            )
        target.mkdir(parents=True, exist_ok=True)
        count = event_slice.write(history, finding.key, offset, target / EVENTS)
        _write_calls(history, finding, target / CALLS)
        tested = bool(finding.tests) and has_handlers(history.folded.reference)
        if tested:
            (target / name).write_text(_test(history, finding, cwd), encoding="utf-8")
        page = _page(history, finding, cwd, name if tested else None, count)
        (target / "README.md").write_text(page, encoding="utf-8")
    except OSError as error:
        raise QueryError(f"{target} can't be written: {error.strerror}.") from error
    return Exported(
        folder=target,
        key=finding.key,
        events=count,
        test=target / name if tested else None,
        asserted=finding.asserted,
        true_already=[str(e) for e in expected if e.holds(finding.state)],
    )


def _found(
    history: History, offset: int, key: str | None, expected: Sequence[Expectation]
) -> _Finding:
    if offset == START:
        raise PositionError("At the start nothing has happened; give the position of an event.")
    if offset >= history.folded.folded:
        raise QueryError(f"{history.folded.label} isn't folded up to offset {offset:,} yet.")
    failures = history.failures_at(offset)
    if key is not None:
        if not event_slice.reaches(history, key, offset):
            raise QueryError(f"No event up to {offset:,} reached a document {key!r}.")
        failures = [failure for failure in failures if failure.key == key]
    elif failures:
        key = failures[0].key
    else:
        key = _first_key(history, offset)
    change = None if key is None else history.state(key, offset)
    state = readable(change.state) if change else ABSENT
    broken = [] if key is None else _broken(history, key, offset)
    return _Finding(offset, key, state, failures[0] if failures else None, broken, expected)


def _first_key(history: History, offset: int) -> str:
    changed = history.keys_changed_at(offset)
    if changed:
        return changed[0]
    with history.workspace.reading() as connection:
        rows = connection.execute(
            "SELECT key FROM routes WHERE projection = ? AND timeline = ?"
            ' AND "offset" = ? ORDER BY key LIMIT 1',
            [history.folded.number, history.folded.timeline, offset],
        ).fetchall()
    if rows:
        return str(rows[0][0])
    event = EventLog(history.workspace).event(offset)
    if event is None or event.stream is None or history.routed:
        raise QueryError(f"The event at {offset:,} reaches no document; name one with --key.")
    return event.stream


def _broken(history: History, key: str, offset: int) -> list[str]:
    """The invariants, of those that are functions, that the document breaks at a position."""
    with history.workspace.reading() as connection:
        rows = connection.execute(
            "SELECT invariant FROM (SELECT invariant, broken FROM turns WHERE projection = ?"
            ' AND timeline = ? AND key = ? AND "offset" <= ? QUALIFY row_number() OVER'
            ' (PARTITION BY invariant ORDER BY "offset" DESC) = 1) WHERE broken ORDER BY invariant',
            [history.folded.number, history.folded.timeline, key, offset],
        ).fetchall()
    return [name for (name,) in rows]


def _test(history: History, finding: _Finding, cwd: str) -> str:
    """The template with what is to be reproduced, and with the tests that say it."""
    template = _TEMPLATE.read_text(encoding="utf-8")
    start, end = template.index("PROJECTION ="), template.index("# How\n")
    expected = "".join(f"    {e.path!r}: {e.text!r},\n" for e in finding.expected)
    constants = (
        f"PROJECTION = {history.folded.reference!r}\nFOLDER = {cwd!r}\nEVENTS = {EVENTS!r}\n"
        f"CALLS = {CALLS!r}\n"
        f"KEY: str | None = {finding.key!r}\nOFFSET = {finding.offset}\n"
        f"EXPECTED: dict[tuple[str | int, ...], str] = {{\n{expected}}}\n"
        f"INVARIANTS: list[str] = {list(finding.broken)!r}\n"
    )
    head, *functions = (template[:start] + constants + template[end:]).split("\n\n\ndef test_")
    # What follows the last test isn't a part of it.
    last, rest = functions[-1].split("\n\n\n", 1)
    kept = [text for text in [*functions[:-1], last] if text.partition("(")[0] in finding.tests]
    return "\n\n\ndef test_".join([head, *kept]) + "\n\n\n" + rest


def _write_calls(history: History, finding: _Finding, file: Path) -> None:
    """What the outside answered these events, for the test; HTTP clients ask it of nobody there."""
    file.unlink(missing_ok=True)
    if not history.folded.calls or finding.key is None:
        return
    found = [
        {
            "offset": one.offset,
            "port": one.port,
            "operation": one.operation,
            "request": readable(one.request),
            "response": readable(one.response),
        }
        for one in call_decisions.of_key(history, finding.key, finding.offset)
        if one.response is not None
    ]
    if found:
        file.write_text("".join(f"{encode(line)}\n" for line in found), encoding="utf-8")


def _page(history: History, finding: _Finding, cwd: str, test: str | None, count: int) -> str:
    folded, name = history.folded, _readable(finding.key or "an event")
    with history.workspace.reading() as connection:
        rows = connection.execute(
            "SELECT python FROM projections WHERE projection = ?", [folded.number]
        ).fetchall()
    python = rows[0][0] if rows else ""
    by = f"-p {_quoted(folded.reference)}" + (
        f" --python {_quoted(python)}" if python and python != catalogue.default_python() else ""
    )
    place = f"{_quoted(str(history.workspace.path.resolve()))} {by}"
    key = "" if finding.key is None else f" --key {_quoted(finding.key)}"
    said = [f"- {_readable(text)}" for text in finding.asserted]
    if test:
        shows = [
            f"`{test}` fails with this code, and passes with code for which:",
            *("", *said, "", "To try other code, `pytest` is all that is needed:", ""),
            "    REFOLD_PROJECTION=path/to/fixed.py pytest .",
        ]
    elif said:
        shows = [
            "There is no test, as pytest can't run what has no Python handlers. With other code:",
            "",
            *said,
        ]
    else:
        shows = ["There is no test, as nobody said what should be there (`--expect PATH=JSON`)."]
    steps = (
        [f"    refold debug {place} --at {finding.offset}{key}"]
        if has_handlers(folded.reference)
        else []
    )
    return "\n".join(
        [
            f"# {name} at {finding.offset}",
            "",
            f"    projection  {_readable(folded.label)} (code {folded.hash})",
            *(f"    file        {_readable(p)} sha256:{h}" for p, h in folded.files.items()),
            f"    position    {finding.offset}",
            f"    events      {count}, in {EVENTS}",
            "",
            *shows,
            "",
            f"To look at it again, in `{_readable(cwd)}`:",
            "",
            f"    refold open {place} --at {finding.offset}",
            *([f"    refold state {place} --at {finding.offset}{key}"] if key else []),
            *steps,
            "",
            "To look at these events alone, here:",
            "",
            f"    refold open {EVENTS} {by}",
            "",
        ]
    )


def _safe(text: str, allowed: str) -> str:
    """The text as a part of a file's name."""
    kept = "".join(c if (c.isalnum() and c.isascii()) or c in allowed else "_" for c in text)
    return kept.lstrip(".-")[:60] or "_"


def _readable(text: str) -> str:
    """The text without anything that acts on a terminal, or ends its line."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _quoted(text: str) -> str:
    """The text as one word of a shell."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_readable(escaped)}'"
