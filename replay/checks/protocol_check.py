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

from replay.worker.protocol.line_protocol import ProtocolError, Speaker, checked, line, short
from storage.log.event_log import EventDetail

PATIENCE = 10.0
"""Seconds that the program may take for all of one check's answers."""
_LARGE = 1 << 20
_SAID_LATE = 1.0
_UNKNOWN = "refold.unknown"
_TEXTS = ("ends\nin\r\nlines", "\u2028 \u2029", 'quotes " and \\', "🧾 ü 中", "\x00\x1b[31m")

Answers = list[dict[str, Any]]


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    check: str
    said: str
    """What is wrong; empty where nothing is."""

    @property
    def passed(self) -> bool:
        return not self.said


@dataclass(frozen=True)
class ProtocolTest:
    """The checks of one program, on some events of any log, in order."""

    command: Sequence[str]
    events: Sequence[EventDetail]
    patience: float = PATIENCE
    on_error: Callable[[str], None] = lambda _: None
    """Is told each line that the program writes on standard error."""

    def findings(self) -> Iterator[Finding]:
        """Every check, as soon as it is done; the first that fails ends it where nothing else can work."""
        checks: dict[str, Callable[[], str]] = {
            "greets": self._greets,
            "answers each event, in order": self._answers,
            "ends with its input, and says no more": self._ends,
            "passes by what it doesn't know": self._unknown,
            "reads any text": self._any_text,
            "reads a line of a megabyte": self._large,
            "answers alike in another process": self._alike,
            "goes on from documents that are given back": self._resumes,
        }
        for name, check in checks.items():
            try:
                said = check()
            except ProtocolError as error:
                said = f"It {error}."
            yield Finding(name, said)
            if said and name == "greets":
                return

    @contextmanager
    def _program(self) -> Iterator[Speaker]:
        reading, writing = os.pipe()
        hearing = Thread(target=self._hear, args=(reading,), daemon=True)
        hearing.start()
        try:
            speaker = Speaker(self.command, errors=writing)
        finally:
            os.close(writing)
        ended: list[bool] = []

        def end() -> None:
            ended.append(True)
            speaker.kill()

        watch = Timer(self.patience, end)
        watch.start()
        try:
            yield speaker
        except ProtocolError as error:
            if not ended:
                raise
            asked = str(error).partition(" before it answered ")[2] or "what it was asked"
            raise ProtocolError(f"did not answer {asked} within {self.patience:g} s") from error
        finally:
            watch.cancel()
            speaker.kill()
            speaker.close()
            hearing.join(_SAID_LATE)  # what it has started may go on

    def _hear(self, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for said in lines:
                self.on_error(said.rstrip("\n"))

    def _told(
        self,
        speaker: Speaker,
        events: Sequence[EventDetail],
        what: str = "event",
        documents: Sequence[tuple[str, Any]] = (),
    ) -> Answers:
        given = [json.dumps({"document": key, "state": state}).encode() for key, state in documents]
        speaker.say(given + [_line(what, event) for event in events])
        answers = []
        for event in events:
            answer = speaker.answer(f"offset {event.offset:,}")
            if answer.get("offset") != event.offset or isinstance(answer["offset"], (bool, float)):
                raise ProtocolError(
                    f"answered {short(answer)} where offset {event.offset:,} is next"
                )
            answers.append(answer)
        return answers

    def _whole(self, events: Sequence[EventDetail]) -> Answers:
        with self._program() as speaker:
            speaker.greet(resuming=False)
            return self._told(speaker, events)

    def _greets(self) -> str:
        with self._program() as speaker:
            ready = speaker.greet(resuming=False)
        for name, kind in {"routes": bool, "runtime": str, "invariants": dict}.items():
            if name in ready and not isinstance(ready[name], kind):
                return f"It greets with {name} = {short(ready[name])}, which is no {kind.__name__}."
        return ""

    def _answers(self) -> str:
        with self._program() as speaker:
            routes = speaker.greet(resuming=False).get("routes") is True
            answers = self._told(speaker, self.events)
        for event, answer in zip(self.events, answers, strict=True):
            try:
                checked(answer, event.stream, routes=routes)
            except ProtocolError as error:
                return f"At offset {event.offset:,} it {error}."
        if not any(answer.get("changes") for answer in answers):
            return (
                f"It changed no document in {len(answers)} events; give a log that it knows"
                " with --events."
            )
        return ""

    def _ends(self) -> str:
        with self._program() as speaker:
            speaker.greet(resuming=False)
            self._told(speaker, self.events[:1])
            code, rest = speaker.close()
        if rest:
            return f"It said more than one line an event: {short(rest)}."
        if code in (None, -SIGKILL):
            return "It goes on after its standard input has ended; it must end then."
        return "" if code == 0 else f"It exited with code {code} when its input ended."

    def _unknown(self) -> str:
        [first, *_] = self.events
        bare = replace(first, time=None, stream=None, revision=None, version=None, id=None)
        empty = replace(bare, type=_UNKNOWN, data=None, meta=None)
        [answer] = self._whole([empty])
        if "error" in answer:
            return (
                f"It answered {short(answer)} to an event of a type that nobody knows;"
                ' that is {"offset": …, "skipped": true}.'
            )
        checked(answer, None, routes=True)
        return ""

    def _any_text(self) -> str:
        [first, *_] = self.events
        self._whole(
            [
                replace(first, offset=n, type=_UNKNOWN, stream=text, data=json.dumps([text]))
                for n, text in enumerate(_TEXTS)
            ]
        )
        return ""

    def _large(self) -> str:
        [first, *_] = self.events
        self._whole([replace(first, type=_UNKNOWN, data=json.dumps({"text": "x" * _LARGE}))])
        return ""

    def _alike(self) -> str:
        pairs = zip(*(self._whole(self.events) for _ in range(2)), strict=True)
        for one, other in pairs:
            if json.dumps(one) != json.dumps(other):
                return (
                    f"Two processes answered offset {one['offset']:,} differently:"
                    f" {short(one)} and {short(other)}."
                )
        return ""

    def _resumes(self) -> str:
        half = len(self.events) // 2
        whole = self._whole(self.events)
        states: dict[str, Any] = {}
        for answer in whole[:half]:
            states.update(answer.get("changes", {}))
        with self._program() as speaker:
            if speaker.greet(resuming=True).get("routes") is True:
                said = self._routed(speaker, whole)
                if said:
                    return said
            answers = self._told(speaker, self.events[half:], documents=list(states.items()))
        for expected, answer in zip(whole[half:], answers, strict=True):
            if expected.get("changes", {}) != answer.get("changes", {}):
                return (
                    f"Given back the documents as they were before offset {half:,}, it answered"
                    f" offset {answer['offset']:,} with {short(answer)} instead of {short(expected)}."
                )
        return ""

    def _routed(self, speaker: Speaker, whole: Answers) -> str:
        routes = self._told(speaker, self.events, "route")
        for answer, route in zip(whole, routes, strict=True):
            forgotten = set(answer.get("changes", {})) - set(route.get("keys", []))
            if forgotten:
                return (
                    f"Its route of offset {answer['offset']:,} lacks {short(min(forgotten))},"
                    " which it changed there."
                )
        return ""


def _line(what: str, event: EventDetail) -> bytes:
    return line(what, event, event.data, event.meta)
