"""The line protocol: starts a program, writes lines to it, and reads and validates its answers.

`docs/protocol.md` describes the protocol. Standard library only, because it is part of the worker.
"""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import threading
from typing import Any, Dict, List, Optional, Sequence, Tuple

PROTOCOL_VERSION = 1
_LINE_ENDS = re.compile("[\r\n]")
_MAX_SHOWN_CHARACTERS = 60
_EXIT_TIMEOUT_SECONDS = 5.0
"""Seconds that a program has to end after its input was closed."""


class ProtocolError(Exception):
    """The program broke the protocol; the message continues a sentence that begins with "it"."""


class ProgramConnection:
    """A running program and its standard input and output."""

    def __init__(
        self, command: Sequence[str], cwd: Optional[str] = None, errors: Optional[int] = None
    ) -> None:
        """Start the program; raises `ProtocolError` if it can't be started.

        Its standard error goes to the descriptor `errors`, or to this process's standard error.
        """
        self.command = list(command)
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=cwd,
            )
        except OSError as error:
            raise ProtocolError(f"can't be started: {error.strerror} ({command[0]})") from error
        self._stdin: Any = self._process.stdin
        self._stdout: Any = self._process.stdout

    def greet(self, *, resuming: bool) -> Dict[str, Any]:
        """Greet the program and return its answer; raises `ProtocolError` if that is invalid."""
        self.send_lines([json.dumps({"refold": PROTOCOL_VERSION, "resuming": resuming}).encode()])
        ready = self.read_answer("the greeting")
        if ready.get("ready") != PROTOCOL_VERSION:
            raise ProtocolError(
                f'answered the greeting with {shorten_json(ready)} instead of {{"ready":'
                f" {PROTOCOL_VERSION}, …}}"
            )
        return ready

    def send_lines(self, lines: List[bytes]) -> threading.Thread:
        """Write lines in a thread, because the program may block until its answers are read.

        Nothing is written for an empty list, because an empty line is not a message.
        """
        thread = threading.Thread(target=self._write, args=(lines,), daemon=True)
        thread.start()
        return thread

    def read_answer(self, request_name: str) -> Dict[str, Any]:
        """Return the next line as an object; `request_name` is for messages.

        Raises `ProtocolError` if the program has ended or the line is not a JSON object.
        """
        line = self._stdout.readline()
        if not line.endswith(b"\n"):
            raise ProtocolError(f"{self._describe_end(line)} before it answered {request_name}")
        try:
            answer = json.loads(
                line, parse_constant=_refuse_constant, parse_float=_parse_finite_float
            )
        except RecursionError:
            raise ProtocolError(
                f"answered {request_name} with JSON that is nested too deep"
            ) from None
        except ValueError:
            raise ProtocolError(
                f"answered {request_name} with a line that is not JSON: {shorten_json(line)}"
            ) from None
        if not isinstance(answer, dict):
            raise ProtocolError(
                f"answered {request_name} with {shorten_json(answer)}, which is not an object"
            )
        return answer

    def close(self) -> Tuple[Optional[int], bytes]:
        """Close the program's input; return its exit code, None if it was killed, and its last output."""
        try:
            rest, _ = self._process.communicate(timeout=_EXIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None, b""
        return self._process.returncode, rest

    def kill(self) -> None:
        """Kill the program."""
        self._process.kill()

    def _write(self, lines: List[bytes]) -> None:
        if not lines:
            return
        try:
            self._stdin.write(b"\n".join(lines) + b"\n")
            self._stdin.flush()
        except (OSError, ValueError):
            return  # the reader reports that the program has ended

    def _describe_end(self, line: bytes) -> str:
        try:
            code = self._process.wait(timeout=_EXIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its standard output"
        cut = " in the middle of a line" if line else ""
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}{cut}"
        return f"exited with code {code}{cut}"


def validate_answer(answer: Dict[str, Any], stream: Optional[str], *, may_route: bool) -> None:
    """Raise `ProtocolError` if an answer to an event is invalid.

    Without `may_route` it may change only the document of the event's stream.
    """
    members = [name for name in ("changes", "skipped", "error") if name in answer]
    if len(members) != 1:
        raise ProtocolError(
            f"answered {shorten_json(answer)}, which has {' and '.join(members) or 'none'} of changes,"
            " skipped and error; it needs exactly one of them"
        )
    [member] = members
    kind = {"changes": dict, "skipped": bool, "error": str}[member]
    if not isinstance(answer[member], kind) or answer[member] is False:
        expected = {"changes": "an object of documents", "skipped": "true", "error": "a text"}[
            member
        ]
        raise ProtocolError(
            f"answered with {member} = {shorten_json(answer[member])}, which must be {expected}"
        )
    documents = answer.get("changes", {} if "key" not in answer else {answer["key"]: None})
    foreign_keys = [key for key in documents if not may_route and key != stream]
    if foreign_keys:
        raise ProtocolError(
            f"named the document {shorten_json(foreign_keys[0])} for an event of"
            f" {shorten_json(stream)} without"
            ' "routes": true in its answer to the greeting'
        )


def _refuse_constant(text: str) -> Any:
    raise ValueError(text)


def _parse_finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ProtocolError(
            f"answered with the number {shorten_json(text.encode())}, which is too large for a double"
        )
    return number


def format_event_line(
    message_kind: str, event: Any, data: Optional[str], meta: Optional[str]
) -> bytes:
    """Return the line that sends an event or asks for its route; `data` and `meta` are JSON."""
    time = event.time
    fields = {
        "offset": event.offset,
        "time": None if time is None else time.isoformat().replace("+00:00", "Z"),
        "stream": event.stream,
        "revision": event.revision,
        "type": event.type,
        "version": event.version,
        "id": event.id,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
    }
    # JSON may contain line ends between tokens, but in this protocol they end a message.
    data, meta = (_LINE_ENDS.sub(" ", text or "null") for text in (data, meta))
    return f'{{"{message_kind}":{json.dumps(fields)[:-1]},"data":{data},"meta":{meta}}}}}'.encode()


def shorten_json(value: Any) -> str:
    """Return a value as JSON, or a line that was read, shortened for a message."""
    text = (
        value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else json.dumps(value)
    )
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[: _MAX_SHOWN_CHARACTERS - 1] + "…"
