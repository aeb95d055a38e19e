"""A live port that is a program of the user's."""

import contextlib
import shlex
import subprocess
import threading
from pathlib import Path

import msgspec

from gateway.calls import Answer, AnswerOutcome, Call
from gateway.ports import Port


class ProgramClient:
    """A program of the user's that reads a JSON line per call and writes one per answer."""

    def __init__(self, command: str, port: Port, folder: Path) -> None:
        self._command = shlex.split(command)
        self._port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._is_interrupted = False
        self._lock = threading.Lock()

    def call(self, call: Call) -> Answer:
        """Write a call to the program and return its answer."""
        line_content = {
            "kind": call.kind.value,
            "port": call.port,
            "operation": call.operation,
            "request": call.request,
        }
        with self._lock:
            process = self._ensure_process()
            kill_timer = threading.Timer(self._port.timeout, process.kill)
            kill_timer.start()
            try:
                assert process.stdin is not None  # noqa: S101 - Popen opened a pipe
                assert process.stdout is not None  # noqa: S101 - as above
                process.stdin.write(msgspec.json.encode(line_content) + b"\n")
                process.stdin.flush()
                line = process.stdout.readline(self._port.most)
            except OSError as error:
                line, reason = b"", str(error)
            else:
                reason = "the program ended before it answered"
            is_timed_out = not kill_timer.is_alive()
            kill_timer.cancel()
        if not line.endswith(b"\n"):
            self.close()
            if is_timed_out:
                return Answer.from_error(
                    f"no answer within {self._port.timeout:g} s", AnswerOutcome.TIMEOUT
                )
            return Answer.from_error(f"{self._command[0]}: {reason}")
        try:
            answer = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            return Answer.from_error(f"{self._command[0]} wrote invalid JSON: {shorten_body(line)}")
        if isinstance(answer, dict) and "error" in answer:
            return Answer.from_error(str(answer["error"]))
        return Answer.from_value(
            answer["response"] if isinstance(answer, dict) and "response" in answer else answer
        )

    def interrupt(self) -> None:
        """End a running call, by ending the program."""
        self._is_interrupted = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the program; call this only while no call runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            # Don't read the rest: a child of the program may keep the pipe open.
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _ensure_process(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._folder
            )
            if self._is_interrupted:
                self._process.kill()
        return self._process


def shorten_body(body: bytes) -> str:
    """Return the start of a body as one line of text, for use inside a message."""
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return text if len(text) <= 200 else text[:199] + "…"
