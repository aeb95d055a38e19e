"""Start, lend and end the parser processes, which read untrusted files and return their rows.

Some libraries do not validate what they read: a changed byte of an Arrow file crashes the process.
refold therefore reads such a file in a second process (`storage.ingest.parser_main`) with limits on
memory and processor time and, on Linux, without sockets and without writing files. A crash of the
parser becomes a `SourceError`. Rows arrive in checked frames (`storage.ingest.parser.batch_frame`).
"""

import atexit
import contextlib
import fcntl
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
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
_ENDED = "the process ended"
_PIPE_BYTES = 1 << 20
_FOLDER_PREFIX = "refold-parser-"
_FRESH_SECONDS = 60
"""A folder that is younger may not be locked yet."""
_SLOWNESS = 6
"""Wall-clock seconds allowed per second of processor time, because a machine may be shared."""
_MAX_REASON = 300
"""Characters of a frame error that a message quotes."""


@contextlib.contextmanager
def _scratch_folder() -> Iterator[str]:
    """Make a locked folder, and remove the folders of killed processes, which hold no lock any more."""
    _remove_abandoned_folders()
    with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX, ignore_cleanup_errors=True) as folder:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield folder
        finally:
            os.close(descriptor)


def _remove_abandoned_folders() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.lstat().st_mtime < _FRESH_SECONDS:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


class ParserProcess:
    """A running parser for the files of one folder."""

    def __init__(self, size_bytes: int, writable: Sequence[str]) -> None:
        """Start the process.

        `size_bytes` is the size of the largest file to read. Beside its scratch folder, the process
        can write only in the `writable` folders.
        """
        self._stack = ExitStack()
        self.size_bytes = size_bytes
        self.is_idle = True
        """Whether the process has answered its last request completely."""
        self._seconds = _SLOWNESS * parser_limits.allowed_seconds(size_bytes)
        folder = self._stack.enter_context(_scratch_folder())
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
        self._answers = io.BufferedReader(
            _PipeWithTimeout(self._process.stdout, self._seconds), 1 << 16
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        self._stack.close()

    def ask(self, request: dict[str, Any], name: str, kind: str) -> Iterator[dict[str, Any]]:
        """Send a request and yield its answers: `{"batch": …}`, and at last `{"result": …}`.

        `name` and `kind` name the file and its format in errors. Raises `SourceError` if the file
        can't be read or the process ends.
        """
        try:
            yield from self._read_answers(request, name, kind)
        except (FrameError, OSError) as error:
            self.close()
            raise self._failure(name, kind, error) from error

    def _read_answers(
        self, request: dict[str, Any], name: str, kind: str
    ) -> Iterator[dict[str, Any]]:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        self.is_idle = False
        schema = pa.schema([])
        while True:
            header = batch_frame.read_header(self._answers)
            if header is None:
                raise FrameError(_ENDED)
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
                    raise SourceError(_one_line(header.get("message")))
                case "memory":
                    raise SourceError(_memory_message(name, kind))
                case "failed":
                    self.is_idle = True
                    reason = _one_line(header.get("message"))
                    raise SourceError(
                        f"{name} can't be read as {kind} ({reason}). Check that the file is complete."
                    )
                case _:
                    raise FrameError("the kind of a frame is unknown")

    def _failure(self, name: str, kind: str, error: Exception) -> SourceError:
        """Return the error that says why the parser ended or was stopped."""
        code = self._process.returncode
        if code == -signal.SIGXCPU or isinstance(error, TimeoutError):
            return SourceError(
                f"{name} can't be read as {kind}: refold stopped its parser after"
                f" {parser_limits.allowed_seconds(self.size_bytes)} seconds without a row."
                " The file is damaged or malicious; write it again from its source."
            )
        if code < 0 and code != -signal.SIGKILL:
            return SourceError(
                f"{name} can't be read as {kind}: its bytes crashed the parser"
                f" ({signal.Signals(-code).name}), which runs in a separate process. The file is"
                " damaged or malicious; write it again from its source."
            )
        if code == -signal.SIGKILL and str(error) == _ENDED:
            return SourceError(_memory_message(name, kind))
        return SourceError(
            f"{name} can't be read as {kind}: its parser sent an invalid answer"
            f" ({str(error)[:_MAX_REASON]}). The file is damaged or malicious; write it again"
            " from its source."
        )

    def _end(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            # Wait for a crashing process, because its exit code names the signal.
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _PipeWithTimeout(io.RawIOBase):
    """A pipe whose reads raise `TimeoutError` after `seconds` without data."""

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
            raise TimeoutError("the parser doesn't answer")
        return os.readv(self._pipe.fileno(), [buffer])


_IDLE_SECONDS = 20
_idle: dict[tuple[str, tuple[str, ...]], ParserProcess] = {}
_idle_lock = threading.Lock()


@contextlib.contextmanager
def parser_of(path: str, writable: Sequence[str] = ()) -> Iterator[ParserProcess]:
    """Lend a parser for a file; later files of the same folder reuse the process.

    A parser that crashed, or whose answer wasn't read to its end, is ended.
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
    """Keep one parser for `_IDLE_SECONDS`, and end the one kept before."""
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
    path = os.path.abspath(request["path"])  # noqa: PTH100 - keeps links, because folder names may be columns
    with parser_of(path, request.get("writable", ())) as parser:
        for answer in parser.ask({**request, "path": path}, name, kind):
            if "batch" in answer:
                yield answer["batch"]


def read_result(request: dict[str, Any], name: str, kind: str) -> Any:
    """Return the result of a request that has no rows."""
    path = os.path.abspath(request["path"])  # noqa: PTH100 - as above
    with parser_of(path, request.get("writable", ())) as parser:
        for answer in parser.ask({**request, "path": path}, name, kind):
            if "result" in answer:
                return answer["result"]
    raise AssertionError


@atexit.register
def close_idle() -> None:
    """End the idle parser; also called when the interpreter exits."""
    with _idle_lock:
        waiting = [_idle.pop(key) for key in list(_idle)]
    for parser in waiting:
        parser.close()


def _one_line(message: object) -> str:
    text = message if isinstance(message, str) else "the parser gave no reason"
    return " ".join(text.split())[:2000]


def _memory_message(name: str, kind: str) -> str:
    limit_gib = parser_limits.MEMORY_BYTES >> 30
    return (
        f"{name} can't be read as {kind} within {limit_gib} GiB of memory. Write it again with fewer"
        " rows in each batch or row group. If the file is small, it is damaged or malicious."
    )
