"""Checks whether a program speaks the worker protocol, as `docs/protocol.md` describes it.

Each check starts the program again, sends it events, and says in one sentence what is wrong. Any log
will do, because the checks concern the form of the answers and not the resulting states.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from signal import SIGKILL
from threading import Thread, Timer
from typing import Any

from replay.worker.protocol.line_protocol import (
    ProgramConnection,
    ProtocolError,
    format_event_line,
    shorten_json,
    validate_answer,
)
from storage.log.event_log import EventDetail

PATIENCE_SECONDS = 10.0
"""Seconds that the program may take for all answers of one check."""
_LARGE_TEXT_CHARACTERS = 1 << 20
_STDERR_GRACE_SECONDS = 1.0
_UNKNOWN_TYPE = "refold.unknown"
_TEXTS = ("ends\nin\r\nlines", "\u2028 \u2029", 'quotes " and \\', "🧾 ü 中", "\x00\x1b[31m")

ProtocolAnswers = list[dict[str, Any]]


@dataclass(frozen=True)
class ProtocolFinding:
    """The result of one check."""

    check: str
    problem: str
    """What is wrong, in one sentence; empty if the check passed."""

    @property
    def has_passed(self) -> bool:
        return not self.problem


@dataclass(frozen=True)
class ProtocolCheck:
    """The checks of one program, on some events of any log."""

    command: Sequence[str]
    events: Sequence[EventDetail]
    patience_seconds: float = PATIENCE_SECONDS
    on_error: Callable[[str], None] = lambda _: None
    """Called with each line that the program writes to standard error."""

    def run_checks(self) -> Iterator[ProtocolFinding]:
        """Yield the result of each check as soon as it is done.

        If the greeting fails, the other checks are skipped, because they need it.
        """
        checks: dict[str, Callable[[], str]] = {
            "greets": self._check_greeting,
            "answers each event, in order": self._check_answers,
            "exits at the end of its input": self._check_end,
            "skips unknown event types": self._check_unknown_event,
            "reads any text": self._check_any_text,
            "reads a line of one megabyte": self._check_large_line,
            "gives the same answers in another process": self._check_repeatability,
            "resumes from stored documents": self._check_resuming,
        }
        for name, check in checks.items():
            try:
                problem = check()
            except ProtocolError as error:
                problem = f"It {error}."
            yield ProtocolFinding(name, problem)
            if problem and name == "greets":
                return

    @contextmanager
    def _start_program(self) -> Iterator[ProgramConnection]:
        reading, writing = os.pipe()
        error_reader = Thread(target=self._forward_errors, args=(reading,), daemon=True)
        error_reader.start()
        try:
            program = ProgramConnection(self.command, errors=writing)
        finally:
            os.close(writing)
        timeouts: list[bool] = []

        def kill_late_program() -> None:
            timeouts.append(True)
            program.kill()

        timer = Timer(self.patience_seconds, kill_late_program)
        timer.start()
        try:
            yield program
        except ProtocolError as error:
            if not timeouts:
                raise
            request_name = str(error).partition(" before it answered ")[2] or "a request"
            raise ProtocolError(
                f"did not answer {request_name} within {self.patience_seconds:g} s"
            ) from error
        finally:
            timer.cancel()
            program.kill()
            program.close()
            # A process that the program started may keep standard error open.
            error_reader.join(_STDERR_GRACE_SECONDS)

    def _forward_errors(self, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for line_text in lines:
                self.on_error(line_text.rstrip("\n"))

    def _exchange(
        self,
        program: ProgramConnection,
        events: Sequence[EventDetail],
        message_kind: str = "event",
        documents: Sequence[tuple[str, Any]] = (),
    ) -> ProtocolAnswers:
        document_lines = [
            json.dumps({"document": key, "state": state}).encode() for key, state in documents
        ]
        program.send_lines(
            document_lines + [_encode_event_line(message_kind, event) for event in events]
        )
        answers = []
        for event in events:
            answer = program.read_answer(f"offset {event.offset:,}")
            if answer.get("offset") != event.offset or isinstance(answer["offset"], (bool, float)):
                raise ProtocolError(
                    f"answered {shorten_json(answer)} where offset {event.offset:,} was expected"
                )
            answers.append(answer)
        return answers

    def _run_whole(self, events: Sequence[EventDetail]) -> ProtocolAnswers:
        with self._start_program() as program:
            program.greet(resuming=False)
            return self._exchange(program, events)

    def _check_greeting(self) -> str:
        with self._start_program() as program:
            ready = program.greet(resuming=False)
        for name, kind in {"routes": bool, "runtime": str, "invariants": dict}.items():
            if name in ready and not isinstance(ready[name], kind):
                return (
                    f"It greets with {name} = {shorten_json(ready[name])}; {name} must be of type"
                    f" {kind.__name__}."
                )
        return ""

    def _check_answers(self) -> str:
        with self._start_program() as program:
            routes = program.greet(resuming=False).get("routes") is True
            answers = self._exchange(program, self.events)
        for event, answer in zip(self.events, answers, strict=True):
            try:
                validate_answer(answer, event.stream, may_route=routes)
            except ProtocolError as error:
                return f"At offset {event.offset:,} it {error}."
        if not any(answer.get("changes") for answer in answers):
            return (
                f"It changed no document in {len(answers)} events. Give a log with event types that"
                " it handles with --events."
            )
        return ""

    def _check_end(self) -> str:
        with self._start_program() as program:
            program.greet(resuming=False)
            self._exchange(program, self.events[:1])
            code, rest = program.close()
        if rest:
            return (
                f"It wrote more than one line for an event: {shorten_json(rest)}. Write one answer"
                " for each event."
            )
        if code in (None, -SIGKILL):
            return "It keeps running after the end of its standard input. It must exit then."
        return (
            ""
            if code == 0
            else f"It exited with code {code} at the end of its input. It must exit with code 0."
        )

    def _check_unknown_event(self) -> str:
        [first, *_] = self.events
        bare = replace(first, time=None, stream=None, revision=None, version=None, id=None)
        empty = replace(bare, type=_UNKNOWN_TYPE, data=None, meta=None)
        [answer] = self._run_whole([empty])
        if "error" in answer:
            return (
                f"It answered {shorten_json(answer)} to an event of an unknown type. Answer"
                ' {"offset": …, "skipped": true}.'
            )
        validate_answer(answer, None, may_route=True)
        return ""

    def _check_any_text(self) -> str:
        [first, *_] = self.events
        self._run_whole(
            [
                replace(first, offset=n, type=_UNKNOWN_TYPE, stream=text, data=json.dumps([text]))
                for n, text in enumerate(_TEXTS)
            ]
        )
        return ""

    def _check_large_line(self) -> str:
        [first, *_] = self.events
        self._run_whole(
            [
                replace(
                    first,
                    type=_UNKNOWN_TYPE,
                    data=json.dumps({"text": "x" * _LARGE_TEXT_CHARACTERS}),
                )
            ]
        )
        return ""

    def _check_repeatability(self) -> str:
        pairs = zip(*(self._run_whole(self.events) for _ in range(2)), strict=True)
        for one, other in pairs:
            if json.dumps(one) != json.dumps(other):
                return (
                    f"Two processes gave different answers for offset {one['offset']:,}:"
                    f" {shorten_json(one)} and {shorten_json(other)}."
                )
        return ""

    def _check_resuming(self) -> str:
        half = len(self.events) // 2
        whole = self._run_whole(self.events)
        states: dict[str, Any] = {}
        for answer in whole[:half]:
            states.update(answer.get("changes", {}))
        with self._start_program() as program:
            if program.greet(resuming=True).get("routes") is True:
                problem = self._check_routes(program, whole)
                if problem:
                    return problem
            answers = self._exchange(program, self.events[half:], documents=list(states.items()))
        for expected, answer in zip(whole[half:], answers, strict=True):
            if expected.get("changes", {}) != answer.get("changes", {}):
                return (
                    f"Resumed from the documents before offset {half:,}, it answered offset"
                    f" {answer['offset']:,} with {shorten_json(answer)} instead of"
                    f" {shorten_json(expected)}."
                )
        return ""

    def _check_routes(self, program: ProgramConnection, answers: ProtocolAnswers) -> str:
        routes = self._exchange(program, self.events, "route")
        for answer, route in zip(answers, routes, strict=True):
            missing_keys = set(answer.get("changes", {})) - set(route.get("keys", []))
            if missing_keys:
                return (
                    f"Its route for offset {answer['offset']:,} lacks the key"
                    f" {shorten_json(min(missing_keys))}, whose document it changed there."
                )
        return ""


def _encode_event_line(message_kind: str, event: EventDetail) -> bytes:
    return format_event_line(message_kind, event, event.data, event.meta)
