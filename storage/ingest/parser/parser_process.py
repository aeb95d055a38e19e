"""A bounded process that parses one untrusted file and gives its rows back.

Some libraries do not validate what they read: a changed byte of an Arrow file crashes the process.
refold therefore starts its own interpreter once more for such a file
(`storage.ingest.parser_main`), with bounds on memory and processor time and, on Linux,
without sockets and without writing files. A crash there becomes one sentence here. Rows arrive in
frames that are checked (`storage.ingest.parser.batch_frame`).
"""

import atexit
import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import SourceError
from storage.ingest.parser import batch_frame, parser_limits
from storage.ingest.parser.batch_frame import FrameError

_BOOT = (
    "import sys; sys.path.append(sys.argv[1]); from storage.ingest.parser_main import main; main()"
)
_ROOT = str(Path(__file__).parent.parent)
_PIPE_BYTES = 1 << 20
_SLOWNESS = 6
"""A machine that others use as well gives the parser a fraction of its time."""
_MAX_REASON = 300


class ParserProcess:
    """A running parser for the files of one folder."""

    def __init__(self, size_bytes: int, writable: Sequence[str]) -> None:
        """`size_bytes` is the size of its largest file; it may write below `writable` only."""
        self._stack = ExitStack()
        self.size_bytes = size_bytes
        self.is_idle = True
        """Whether it has answered what it was asked."""
        self._seconds = _SLOWNESS * parser_limits.allowed_seconds(size_bytes)
        folder = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="refold-parser-", ignore_cleanup_errors=True)
        )
        settings = {"size_bytes": size_bytes, "writable": [folder, *writable]}
        command = [sys.executable, "-P", "-c", _BOOT, _ROOT, json.dumps(settings)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, "TMPDIR": folder},
            start_new_session=True,
        )
        self._stack.callback(self._end)
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._answers = io.BufferedReader(_Patient(self._process.stdout, self._seconds), 1 << 16)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        self._stack.close()

    def ask(self, request: dict[str, Any], name: str, kind: str) -> Iterator[dict[str, Any]]:
        """Send a request and yield its answers: `{"batch": …}`, and at last `{"result": …}`.

        `name` and `kind` name the file and its format in errors. Raises `SourceError`.
        """
        try:
            yield from self._answered(request, name, kind)
        except (FrameError, OSError) as error:
            self.close()
            raise self._failure(name, kind, error) from error

    def _answered(self, request: dict[str, Any], name: str, kind: str) -> Iterator[dict[str, Any]]:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        self.is_idle = False
        schema = pa.schema([])
        while True:
            header = batch_frame.read_header(self._answers)
            if header is None:
                raise FrameError("it ended")
            buffers = batch_frame.read_buffers(self._answers, header)
            match header.get("kind"):
                case "schema":
                    schema = batch_frame.read_schema(header.get("schema"))
                case "batch":
                    yield {"batch": batch_frame.join_batch(header, buffers, schema)}
                case "end":
                    self.is_idle = True
                    yield {"result": header.get("result")}
                    return
                case "refused":
                    self.is_idle = True
                    raise SourceError(_sentence(header.get("message")))
                case "memory":
                    raise SourceError(_memory(name, kind))
                case "failed":
                    self.is_idle = True
                    reason = _sentence(header.get("message"))
                    raise SourceError(f"{name} can't be read as {kind} ({reason}); is it complete?")
                case _:
                    raise FrameError("a frame is of no known kind")

    def _failure(self, name: str, kind: str, error: Exception) -> SourceError:
        """What ended a parser that didn't answer, as a sentence."""
        code = self._process.returncode
        if code == -signal.SIGXCPU or isinstance(error, TimeoutError):
            return SourceError(
                f"{name} can't be read as {kind}: its reader was stopped after"
                f" {parser_limits.allowed_seconds(self.size_bytes)} seconds without a row."
                " The file is damaged or made to do harm; write it again from its source."
            )
        if code < 0 and code != -signal.SIGKILL:
            return SourceError(
                f"{name} can't be read as {kind}: its bytes crashed the reader"
                f" ({signal.Signals(-code).name}), which runs in a process of its own. The file is"
                " damaged or made to do harm; write it again from its source."
            )
        if code == -signal.SIGKILL and str(error) == "it ended":
            return SourceError(_memory(name, kind))
        return SourceError(
            f"{name} can't be read as {kind}: its reader answered with what can't be used"
            f" ({str(error)[:_MAX_REASON]}). The file is damaged or made to do harm; write it again"
            " from its source."
        )

    def _end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            # A process that crashes is given the time to say by which signal.
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Patient(io.RawIOBase):
    """A pipe that is read for a bounded time."""

    def __init__(self, pipe: Any, seconds: float) -> None:
        self._pipe = pipe
        self._seconds = seconds
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import fcntl  # noqa: PLC0415 - the size of a pipe can be set on Linux only

            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._poll.poll(1000 * self._seconds):
            raise TimeoutError("it doesn't answer")
        return os.readv(self._pipe.fileno(), [buffer])


_IDLE_SECONDS = 20
_idle: dict[tuple[str, tuple[str, ...]], ParserProcess] = {}
_idle_lock = threading.Lock()


@contextlib.contextmanager
def parser_of(path: str, writable: Sequence[str] = ()) -> Iterator[ParserProcess]:
    """Lend the parser of a file's folder; the next file of the folder finds it running.

    A parser that crashed, or was left in the middle of an answer, ends.
    """
    size = os.stat(path).st_size if os.path.exists(path) else 0  # noqa: PTH110, PTH116 - called per file
    key = (os.path.dirname(path), tuple(writable))  # noqa: PTH120 - as above
    with _idle_lock:
        parser = _idle.pop(key, None)
    if parser is not None and (parser.size_bytes < size or not parser.is_running):
        parser.close()
        parser = None
    if parser is None:
        parser = ParserProcess(max(size, 64 << 20), writable)
    try:
        yield parser
    finally:
        if parser.is_idle:
            _keep_idle(key, parser)
        else:
            parser.close()


def _keep_idle(key: tuple[str, tuple[str, ...]], parser: ParserProcess) -> None:
    """Keep one parser for the next file, for a while."""
    with _idle_lock:
        others = [_idle.pop(other) for other in list(_idle)]
        _idle[key] = parser
    for other in others:
        other.close()
    timer = threading.Timer(_IDLE_SECONDS, _end_if_idle, (key, parser))
    timer.daemon = True
    timer.start()


def _end_if_idle(key: tuple[str, tuple[str, ...]], parser: ParserProcess) -> None:
    with _idle_lock:
        if _idle.get(key) is not parser:
            return
        del _idle[key]
    parser.close()


def read_batches(request: dict[str, Any], name: str, kind: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches that answer a request about the file at `request["path"]`."""
    path = os.path.abspath(request["path"])  # noqa: PTH100 - links stay, as folders may be columns
    with parser_of(path, request.get("writable", ())) as parser:
        for answer in parser.ask({**request, "path": path}, name, kind):
            if "batch" in answer:
                yield answer["batch"]


def read_result(request: dict[str, Any], name: str, kind: str) -> Any:
    """Return what answers a request that has no rows."""
    path = os.path.abspath(request["path"])  # noqa: PTH100 - as above
    with parser_of(path, request.get("writable", ())) as parser:
        for answer in parser.ask({**request, "path": path}, name, kind):
            if "result" in answer:
                return answer["result"]
    raise AssertionError


@atexit.register
def close_idle() -> None:
    """End the parser that waits for another file."""
    with _idle_lock:
        waiting = [_idle.pop(key) for key in list(_idle)]
    for parser in waiting:
        parser.close()


def _sentence(message: object) -> str:
    text = message if isinstance(message, str) else "it gave no reason"
    return " ".join(text.split())[:2000]


def _memory(name: str, kind: str) -> str:
    most = parser_limits.MEMORY_BYTES >> 30
    return (
        f"{name} can't be read as {kind} within {most} GiB of memory. Write it again with fewer rows"
        " in each batch or row group; if it is small, it is damaged or made to do harm."
    )
