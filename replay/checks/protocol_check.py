"""Whether a program speaks the worker protocol, as `docs/protocol.md` describes it.

Each check starts the program anew, gives it events, and says in a sentence what is wrong. Any log
will do: what the program makes of its events is its own affair, how it answers is not.
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
"""Seconds that the program may take for all of one check's answers."""
_LARGE_TEXT_CHARACTERS = 1 << 20
_STDERR_GRACE_SECONDS = 1.0
_UNKNOWN_TYPE = "refold.unknown"
_TEXTS = ("ends\nin\r\nlines", "\u2028 \u2029", 'quotes " and \\', "🧾 ü 中", "\x00\x1b[31m")

ProtocolAnswers = list[dict[str, Any]]


@dataclass(frozen=True)
class ProtocolFinding:
    """What one check came to."""

    check: str
    problem: str
    """What is wrong; empty where nothing is."""

    @property
    def has_passed(self) -> bool:
        return not self.problem


@dataclass(frozen=True)
class ProtocolCheck:
    """The checks of one program, on some events of any log, in order."""

    command: Sequence[str]
    events: Sequence[EventDetail]
    patience_seconds: float = PATIENCE_SECONDS
    on_error: Callable[[str], None] = lambda _: None
    """Is told each line that the program writes on standard error."""

    def run_checks(self) -> Iterator[ProtocolFinding]:
        """Every check, as soon as it is done; the first that fails ends it where nothing else can work."""
        checks: dict[str, Callable[[], str]] = {
            "greets": self._check_greeting,
            "answers each event, in order": self._check_answers,
            "ends with its input, and says no more": self._check_end,
            "passes by what it doesn't know": self._check_unknown_event,
            "reads any text": self._check_any_text,
            "reads a line of a megabyte": self._check_large_line,
            "answers alike in another process": self._check_repeatability,
            "goes on from documents that are given back": self._check_resuming,
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
        hearing = Thread(target=self._forward_errors, args=(reading,), daemon=True)
        hearing.start()
        try:
            speaker = ProgramConnection(self.command, errors=writing)
        finally:
            os.close(writing)
        ended: list[bool] = []

        def end() -> None:
            ended.append(True)
            speaker.kill()

        watch = Timer(self.patience_seconds, end)
        watch.start()
        try:
            yield speaker
        except ProtocolError as error:
            if not ended:
                raise
            asked = str(error).partition(" before it answered ")[2] or "what it was asked"
            raise ProtocolError(
                f"did not answer {asked} within {self.patience_seconds:g} s"
            ) from error
        finally:
            watch.cancel()
            speaker.kill()
            speaker.close()
            hearing.join(_STDERR_GRACE_SECONDS)  # what it has started may go on

    def _forward_errors(self, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for line_text in lines:
                self.on_error(line_text.rstrip("\n"))

    def _exchange(
        self,
        speaker: ProgramConnection,
        events: Sequence[EventDetail],
        message_kind: str = "event",
        documents: Sequence[tuple[str, Any]] = (),
    ) -> ProtocolAnswers:
        document_lines = [
            json.dumps({"document": key, "state": state}).encode() for key, state in documents
        ]
        speaker.send_lines(
            document_lines + [_encode_event_line(message_kind, event) for event in events]
        )
        answers = []
        for event in events:
            answer = speaker.read_answer(f"offset {event.offset:,}")
            if answer.get("offset") != event.offset or isinstance(answer["offset"], (bool, float)):
                raise ProtocolError(
                    f"answered {shorten_json(answer)} where offset {event.offset:,} is next"
                )
            answers.append(answer)
        return answers

    def _run_whole(self, events: Sequence[EventDetail]) -> ProtocolAnswers:
        with self._start_program() as speaker:
            speaker.greet(resuming=False)
            return self._exchange(speaker, events)

    def _check_greeting(self) -> str:
        with self._start_program() as speaker:
            ready = speaker.greet(resuming=False)
        for name, kind in {"routes": bool, "runtime": str, "invariants": dict}.items():
            if name in ready and not isinstance(ready[name], kind):
                return f"It greets with {name} = {shorten_json(ready[name])}, which is no {kind.__name__}."
        return ""

    def _check_answers(self) -> str:
        with self._start_program() as speaker:
            routes = speaker.greet(resuming=False).get("routes") is True
            answers = self._exchange(speaker, self.events)
        for event, answer in zip(self.events, answers, strict=True):
            try:
                validate_answer(answer, event.stream, may_route=routes)
            except ProtocolError as error:
                return f"At offset {event.offset:,} it {error}."
        if not any(answer.get("changes") for answer in answers):
            return (
                f"It changed no document in {len(answers)} events; give a log that it knows"
                " with --events."
            )
        return ""

    def _check_end(self) -> str:
        with self._start_program() as speaker:
            speaker.greet(resuming=False)
            self._exchange(speaker, self.events[:1])
            code, rest = speaker.close()
        if rest:
            return f"It said more than one line an event: {shorten_json(rest)}."
        if code in (None, -SIGKILL):
            return "It goes on after its standard input has ended; it must end then."
        return "" if code == 0 else f"It exited with code {code} when its input ended."

    def _check_unknown_event(self) -> str:
        [first, *_] = self.events
        bare = replace(first, time=None, stream=None, revision=None, version=None, id=None)
        empty = replace(bare, type=_UNKNOWN_TYPE, data=None, meta=None)
        [answer] = self._run_whole([empty])
        if "error" in answer:
            return (
                f"It answered {shorten_json(answer)} to an event of a type that nobody knows;"
                ' that is {"offset": …, "skipped": true}.'
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
                    f"Two processes answered offset {one['offset']:,} differently:"
                    f" {shorten_json(one)} and {shorten_json(other)}."
                )
        return ""

    def _check_resuming(self) -> str:
        half = len(self.events) // 2
        whole = self._run_whole(self.events)
        states: dict[str, Any] = {}
        for answer in whole[:half]:
            states.update(answer.get("changes", {}))
        with self._start_program() as speaker:
            if speaker.greet(resuming=True).get("routes") is True:
                problem = self._check_routes(speaker, whole)
                if problem:
                    return problem
            answers = self._exchange(speaker, self.events[half:], documents=list(states.items()))
        for expected, answer in zip(whole[half:], answers, strict=True):
            if expected.get("changes", {}) != answer.get("changes", {}):
                return (
                    f"Given back the documents as they were before offset {half:,}, it answered"
                    f" offset {answer['offset']:,} with {shorten_json(answer)} instead of"
                    f" {shorten_json(expected)}."
                )
        return ""

    def _check_routes(self, speaker: ProgramConnection, answers: ProtocolAnswers) -> str:
        routes = self._exchange(speaker, self.events, "route")
        for answer, route in zip(answers, routes, strict=True):
            forgotten = set(answer.get("changes", {})) - set(route.get("keys", []))
            if forgotten:
                return (
                    f"Its route of offset {answer['offset']:,} lacks {shorten_json(min(forgotten))},"
                    " which it changed there."
                )
        return ""


def _encode_event_line(message_kind: str, event: EventDetail) -> bytes:
    return format_event_line(message_kind, event, event.data, event.meta)
