"""Writes reproductions: folders that show a finding to a person without refold.

A folder contains the events that reached a document up to a position, a page that describes the
finding and how to open it in refold, and a test of the projection's code over these events. Writing it
runs no code of the user, because the workspace contains everything.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.document import paths
from replay.document.diff import decode_or_text, decode_state, encode_value
from replay.document.paths import ABSENT
from replay.export import event_slice
from replay.history import call_decisions, catalogue
from replay.history.fold_reports import Failure
from replay.history.history import History
from replay.projection.declaration import has_event_handlers
from storage.errors import PositionError, QueryError
from storage.folds import projection_rows
from storage.folds.report_rows import InvariantRows
from storage.log.event_log import EventLog
from storage.log.positions import START

EVENTS_FILE = "events.jsonl"
CALLS_FILE = "calls.jsonl"
_TEMPLATE = Path(__file__).with_name("reproduction_template.py")
_TEST_NOT_RAISED, _TEST_STATE_EXPECTED, _TEST_INVARIANTS = (
    "the_handler_does_not_raise",
    "the_state_is_as_expected",
    "the_invariants_hold",
)
"""The names of the template's tests, without `test_`."""


@dataclass(frozen=True)
class Expectation:
    """A value that a document should have at a path."""

    path: paths.DocumentPath
    expected_json: str
    """The value as JSON; empty: there should be no value."""

    def __str__(self) -> str:
        return f"{paths.format_path(self.path)} = {self.expected_json or 'nothing'}"

    def is_met_by(self, state: Any) -> bool:
        value = paths.get_value_at(state, self.path)
        return bool(value == (decode_state(self.expected_json) if self.expected_json else ABSENT))


@dataclass(frozen=True)
class Reproduction:
    """A reproduction after it was written: its folder, its events and what its test asserts."""

    folder: Path
    key: str | None
    events: int
    """The number of events written."""
    test: Path | None
    """The test file; None: there is nothing to assert, or the projection has no Python handlers."""
    assertions: Sequence[str]
    """The assertions of the test, for a person."""
    already_met: Sequence[str]
    """Expectations that the state in the history meets already, so the test doesn't fail for them."""


@dataclass(frozen=True)
class _Finding:
    """The finding at the position: the document's state and what is wrong with it."""

    offset: int
    key: str | None
    state: Any
    failure: Failure | None
    broken_invariants: Sequence[str]
    expected: Sequence[Expectation]

    @property
    def template_tests(self) -> list[str]:
        """The tests to write. Expectations come first; then a handler that raises, because it may be
        the cause of a broken invariant."""
        if self.expected:
            return [_TEST_STATE_EXPECTED]
        if self.failure is not None:
            return [_TEST_NOT_RAISED]
        return [_TEST_INVARIANTS] if self.broken_invariants else []

    @property
    def assertions(self) -> list[str]:
        if self.expected:
            return [
                f"{e} (it was {encode_value(paths.get_value_at(self.state, e.path))})"
                for e in self.expected
            ]
        if self.failure is not None:
            return [f"the handler of {self.failure.type} does not raise {self.failure.error}"]
        return [f"the invariant {name!r} holds" for name in self.broken_invariants]


def parse_expectation(text: str) -> Expectation:
    """Parse PATH=JSON; PATH= expects no value. Raises `QueryError` for another text."""
    parts = text.split("=")
    first_error: QueryError | None = None
    for index in range(1, len(parts)):
        written, value = "=".join(parts[:index]), "=".join(parts[index:]).strip()
        if not written.strip():
            continue
        try:
            path = paths.parse_path(written)
            if value:
                decode_state(value)
        except QueryError as error:
            first_error = first_error or error
        except (ValueError, RecursionError):
            continue
        else:
            return Expectation(path, value)
    if first_error is not None:
        raise first_error
    raise QueryError(
        f"Invalid expectation {text!r}. Expected PATH=JSON, such as refunded=44.15 or status='\"paid\"'."
    )


def default_folder(history: History, key: str | None, offset: int) -> Path:
    """Return the path of a folder beside the workspace, named after the key and the position."""
    return (
        history.workspace.path.resolve().parent / f"{_to_file_name(key or 'event', '@.-')}@{offset}"
    )


def write_reproduction(
    history: History,
    offset: int,
    key: str | None = None,
    *,
    cwd: str,
    expected: Sequence[Expectation] = (),
    folder: Path | None = None,
    replace: bool = False,
    without_test: bool = False,
) -> Reproduction:
    """Write the reproduction of a document at a position; without a key, of the event's first document.

    `cwd` is the folder from which the projection imports. Raises `PositionError` or `QueryError`, and
    writes nothing, if there is no such document, if there is nothing to assert (unless `without_test`
    is true), or if the folder isn't empty (unless `replace` is true).
    """
    finding = _find_finding(history, offset, key, expected)
    if not finding.template_tests and not without_test:
        raise QueryError(
            f"No handler raised and no invariant is broken in {finding.key!r} at {offset:,}."
            " Give the expected value with --expect PATH=JSON."
        )
    target = folder or default_folder(history, finding.key, offset)
    name = f"test_{_to_file_name(finding.key or 'event', '')}_at_{offset}.py"
    try:
        if target.is_dir() and any(target.iterdir()) and not replace:
            raise QueryError(
                f"{target} exists already and isn't empty. Give another folder with -o, or overwrite"
                " the exported files with --replace."
            )
        target.mkdir(parents=True, exist_ok=True)
        count = event_slice.write_event_slice(history, finding.key, offset, target / EVENTS_FILE)
        _write_calls(history, finding, target / CALLS_FILE)
        tested = bool(finding.template_tests) and has_event_handlers(history.fold_record.reference)
        if tested:
            (target / name).write_text(_render_test(history, finding, cwd), encoding="utf-8")
        page = _render_readme(history, finding, cwd, name if tested else None, count)
        (target / "README.md").write_text(page, encoding="utf-8")
    except OSError as error:
        raise QueryError(f"{target} can't be written: {error.strerror}.") from error
    return Reproduction(
        folder=target,
        key=finding.key,
        events=count,
        test=target / name if tested else None,
        assertions=finding.assertions,
        already_met=[str(e) for e in expected if e.is_met_by(finding.state)],
    )


def _find_finding(
    history: History, offset: int, key: str | None, expected: Sequence[Expectation]
) -> _Finding:
    if offset == START:
        raise PositionError("There is no event at the start. Give the position of an event.")
    if offset >= history.fold_record.next_offset:
        raise QueryError(
            f"{history.fold_record.label} isn't folded up to offset {offset:,} yet. Fold it first."
        )
    failures = history.failures_at(offset)
    if key is not None:
        if not event_slice.is_document_reached(history, key, offset):
            raise QueryError(f"No event up to {offset:,} reached a document {key!r}.")
        failures = [failure for failure in failures if failure.key == key]
    elif failures:
        key = failures[0].key
    else:
        key = _find_first_key(history, offset)
    change = None if key is None else history.state_at(key, offset)
    state = decode_or_text(change.state) if change else ABSENT
    broken_invariants = (
        []
        if key is None
        else InvariantRows(history.workspace, history.scope).find_broken(key, offset)
    )
    return _Finding(
        offset, key, state, failures[0] if failures else None, broken_invariants, expected
    )


def _find_first_key(history: History, offset: int) -> str:
    changed = history.keys_changed_at(offset)
    if changed:
        return changed[0]
    reached = history.route_rows.find_first_key(offset)
    if reached is not None:
        return reached
    event = EventLog(history.workspace).read_event(offset)
    if event is None or event.stream is None or history.is_routed:
        raise QueryError(f"The event at {offset:,} reaches no document. Give one with --key.")
    return event.stream


def _render_test(history: History, finding: _Finding, cwd: str) -> str:
    """Return the template with the constants of the finding, and only the tests for it."""
    template = _TEMPLATE.read_text(encoding="utf-8")
    start, end = template.index("PROJECTION ="), template.index("# How\n")
    expected = "".join(f"    {e.path!r}: {e.expected_json!r},\n" for e in finding.expected)
    constants = (
        f"PROJECTION = {history.fold_record.reference!r}\nFOLDER = {cwd!r}\nEVENTS = {EVENTS_FILE!r}\n"
        f"CALLS = {CALLS_FILE!r}\n"
        f"KEY: str | None = {finding.key!r}\nOFFSET = {finding.offset}\n"
        f"EXPECTED: dict[tuple[str | int, ...], str] = {{\n{expected}}}\n"
        f"INVARIANTS: list[str] = {list(finding.broken_invariants)!r}\n"
    )
    head, *functions = (template[:start] + constants + template[end:]).split("\n\n\ndef test_")
    # The last test is followed by the template's other code, which stays.
    last, rest = functions[-1].split("\n\n\n", 1)
    wanted_tests = [
        text for text in [*functions[:-1], last] if text.partition("(")[0] in finding.template_tests
    ]
    return "\n\n\ndef test_".join([head, *wanted_tests]) + "\n\n\n" + rest


def _write_calls(history: History, finding: _Finding, file: Path) -> None:
    """Write the recorded answers to the calls of these events, for the test's gateway."""
    file.unlink(missing_ok=True)
    if not history.fold_record.call_count or finding.key is None:
        return
    calls = [
        {
            "offset": one.offset,
            "port": one.port,
            "operation": one.operation,
            "request": decode_or_text(one.request),
            "response": decode_or_text(one.response),
        }
        for one in call_decisions.read_document_decisions(history, finding.key, finding.offset)
        if one.response is not None
    ]
    if calls:
        file.write_text("".join(f"{encode_value(line)}\n" for line in calls), encoding="utf-8")


def _render_readme(
    history: History, finding: _Finding, cwd: str, test: str | None, count: int
) -> str:
    fold_record, name = history.fold_record, _to_printable(finding.key or "an event")
    python = projection_rows.read_python(history.workspace, fold_record.projection_number)
    projection_options = f"-p {_to_shell_word(fold_record.reference)}" + (
        f" --python {_to_shell_word(python)}"
        if python and python != catalogue.default_python()
        else ""
    )
    target_arguments = (
        f"{_to_shell_word(str(history.workspace.path.resolve()))} {projection_options}"
    )
    key = "" if finding.key is None else f" --key {_to_shell_word(finding.key)}"
    assertion_lines = [f"- {_to_printable(text)}" for text in finding.assertions]
    if test:
        explanation = [
            f"`{test}` fails with this code, and passes with code for which:",
            *("", *assertion_lines, "", "To test other code, you only need `pytest`:", ""),
            "    REFOLD_PROJECTION=path/to/fixed.py pytest .",
        ]
    elif assertion_lines:
        explanation = [
            "There is no test, because the projection has no Python handlers. With correct code:",
            "",
            *assertion_lines,
        ]
    else:
        explanation = [
            "There is no test, because no expected value was given (`--expect PATH=JSON`)."
        ]
    steps = (
        [f"    refold debug {target_arguments} --at {finding.offset}{key}"]
        if has_event_handlers(fold_record.reference)
        else []
    )
    return "\n".join(
        [
            f"# {name} at {finding.offset}",
            "",
            f"    projection  {_to_printable(fold_record.label)} (code {fold_record.code_hash})",
            *(
                f"    file        {_to_printable(p)} sha256:{h}"
                for p, h in fold_record.files.items()
            ),
            f"    position    {finding.offset}",
            f"    events      {count}, in {EVENTS_FILE}",
            "",
            *explanation,
            "",
            f"To open the position in refold, run this in `{_to_printable(cwd)}`:",
            "",
            f"    refold open {target_arguments} --at {finding.offset}",
            *([f"    refold state {target_arguments} --at {finding.offset}{key}"] if key else []),
            *steps,
            "",
            "To open only these events, run this in this folder:",
            "",
            f"    refold open {EVENTS_FILE} {projection_options}",
            "",
        ]
    )


def _to_file_name(text: str, allowed: str) -> str:
    """Return the text as part of a file name: at most 60 ASCII letters, digits and `allowed`."""
    name = "".join(c if (c.isalnum() and c.isascii()) or c in allowed else "_" for c in text)
    return name.lstrip(".-")[:60] or "_"


def _to_printable(text: str) -> str:
    """Return the text with control characters and line breaks escaped."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _to_shell_word(text: str) -> str:
    """Return the text quoted as one word of a shell."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_to_printable(escaped)}'"
