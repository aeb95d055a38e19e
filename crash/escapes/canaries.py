"""Canaries that hostile code changes if it gets out: sockets, files, processes, memory, keys."""

import contextlib
import ctypes
import fcntl
import os
import resource
import secrets
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from crash.finding import Finding

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.shmat.restype = ctypes.c_void_p
_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine, 250)
_KEYCTL_SEARCH, _USER_KEYRING = 10, -4
_IPC_CREAT, _IPC_RMID, _IPC_NOWAIT, _GETVAL = 0o1000, 0, 0o4000, 12
_GET_FLAGS = 0x80086601
_CONTENT = b"precious\n"
_SHARED = b"precious shared memory"


class Canaries:
    """The canaries of one try; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "precious"
        self._token = secrets.token_hex(6)
        self._sockets: dict[str, socket.socket] = {}

    def __enter__(self) -> "Canaries":
        self._make_files()
        self._open_sockets()
        self._victim = subprocess.Popen(["sleep", "120"], start_new_session=True)
        self._victim_before = self._victim_state()
        self._shared = _LIBC.shmget(0, 64, _IPC_CREAT | 0o666)
        ctypes.memmove(self._attached(), _SHARED, len(_SHARED))
        self._queue = _LIBC.msgget(0, _IPC_CREAT | 0o666)
        self._semaphore = _LIBC.semget(0, 1, _IPC_CREAT | 0o666)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets.values():
            one.close()
        self._victim.kill()
        self._victim.wait()
        _LIBC.shmctl(self._shared, _IPC_RMID, None)
        _LIBC.msgctl(self._queue, _IPC_RMID, None)
        _LIBC.semctl(self._semaphore, 0, _IPC_RMID, 0)
        for left in Path("/dev/shm").glob(f"*{self._token}*"):
            left.unlink(missing_ok=True)

    def targets(self) -> dict[str, object]:
        """Return the names and numbers by which hostile code finds the canaries."""
        return {
            "file": str(self._folder / "kept.txt"),
            "folder": str(self._folder),
            "absent": str(self._folder / "absent.txt"),
            "tcp": self._sockets["tcp"].getsockname()[1],
            "tcp6": self._sockets["tcp6"].getsockname()[1] if "tcp6" in self._sockets else 0,
            "udp": self._sockets["udp"].getsockname()[1],
            "unix": self._sockets["unix"].getsockname(),
            "unix_datagram": self._sockets["unix_datagram"].getsockname(),
            "abstract": f"refold-{self._token}",
            "abstract_datagram": f"refold-{self._token}-d",
            "victim": self._victim.pid,
            "shared": self._shared,
            "queue": self._queue,
            "semaphore": self._semaphore,
            "token": self._token,
        }

    def alarms(self) -> Iterator[Finding]:
        """Yield a finding for each canary that hostile code reached or changed."""
        for name, one in self._sockets.items():
            if _was_reached(one):
                yield Finding("socket reached", name)
        after = self._files()
        if after != self._files_before:
            names = {**self._files_before, **after}
            changed = [n for n in names if self._files_before.get(n) != after.get(n)]
            description = "; ".join(
                f"{n}: {self._files_before.get(n)} became {after.get(n)}" for n in changed
            )
            yield Finding("file changed", description[:600])
        if self._victim.poll() is not None:
            yield Finding("process signalled", f"it ended with {self._victim.returncode}")
        elif (state := self._victim_state()) != self._victim_before:
            yield Finding("process changed", f"{self._victim_before} became {state}")
        if ctypes.string_at(self._attached(), len(_SHARED)) != _SHARED:
            yield Finding("shared memory written", "an existing System V segment")
        if _LIBC.msgrcv(self._queue, ctypes.create_string_buffer(64), 32, 0, _IPC_NOWAIT) >= 0:
            yield Finding("message queue written", "an existing System V queue")
        if _LIBC.semctl(self._semaphore, 0, _GETVAL, 0) != 0:
            yield Finding("semaphore changed", "an existing System V semaphore")
        if self._has_key():
            yield Finding("key added", "to the user's keyring")
        if left := [path.name for path in Path("/dev/shm").glob(f"*{self._token}*")]:
            yield Finding("shared memory made", ", ".join(left))

    def _make_files(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        (self._folder / "kept.txt").write_bytes(_CONTENT)
        os.utime(self._folder / "kept.txt", (1_700_000_000, 1_700_000_000))
        self._files_before = self._files()

    def _files(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for path in self._folder.rglob("*"):
            state = path.lstat()
            names = os.listxattr(path, follow_symlinks=False)
            content = path.read_bytes() if path.is_file() else b""
            kept = (content, oct(state.st_mode), state.st_uid, int(state.st_mtime), state.st_nlink)
            found[path.name] = (*kept, tuple(names), _flags(path))
        return found

    def _open_sockets(self) -> None:
        self._listen("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        with contextlib.suppress(OSError):
            self._listen("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))
        self._listen("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        for name, kind in (("unix", socket.SOCK_STREAM), ("unix_datagram", socket.SOCK_DGRAM)):
            path = f"/tmp/refold-{self._token}-{name}"
            self._listen(name, socket.AF_UNIX, kind, path)
        for ending, kind in (("", socket.SOCK_STREAM), ("-d", socket.SOCK_DGRAM)):
            self._listen(
                f"abstract{ending}", socket.AF_UNIX, kind, f"\0refold-{self._token}{ending}"
            )

    def _listen(self, name: str, family: int, kind: int, address: tuple[str, int] | str) -> None:
        made = socket.socket(family, kind)
        made.bind(address)
        made.setblocking(False)
        if kind == socket.SOCK_STREAM:
            made.listen()
        self._sockets[name] = made

    def _victim_state(self) -> tuple[object, ...]:
        pid = self._victim.pid
        ionice = _LIBC.syscall({"x86_64": 252}.get(os.uname().machine, 31), 1, pid)
        return (
            os.getpriority(os.PRIO_PROCESS, pid),
            tuple(sorted(os.sched_getaffinity(pid))),
            os.sched_getscheduler(pid),
            resource.prlimit(pid, resource.RLIMIT_NOFILE),
            resource.prlimit(pid, resource.RLIMIT_CPU),
            ionice,
            Path(f"/proc/{pid}/oom_score_adj").read_text().strip(),
        )

    def _attached(self) -> int:
        found = getattr(self, "_address", None)
        if found is None:
            self._address = found = _LIBC.shmat(self._shared, None, 0)
        return int(found)

    def _has_key(self) -> bool:
        name = f"refold-{self._token}".encode()
        found = _LIBC.syscall(_KEYCTL, _KEYCTL_SEARCH, _USER_KEYRING, b"user", name, 0)
        return bool(found > 0)


def _was_reached(one: socket.socket) -> bool:
    try:
        if one.type == socket.SOCK_STREAM:
            one.accept()[0].close()
        else:
            one.recv(64)
    except OSError:
        return False
    return True


def _flags(path: Path) -> int:
    """Return the attributes that `chattr` sets; 0 if the file system has none."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            answer = fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0))
            return int(struct.unpack("l", answer)[0])
        finally:
            os.close(descriptor)
    return 0


def remove_sockets() -> None:
    """Remove the socket files of tries that have ended."""
    for left in Path("/tmp").glob("refold-????????????-unix*"):
        left.unlink(missing_ok=True)
