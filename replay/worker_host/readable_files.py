"""The files that a worker can read, and the variables it gets, if its reading is restricted.

Landlock enforces this, so it holds on Linux only. A worker needs its interpreter, libraries and a few
system files; all other files of the user stay out of its reach.
"""

import functools
import glob
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from replay.projection.projection_reference import Reference, is_program
from replay.worker_host.sandbox import Sandbox
from storage.errors import ProjectionError

EVERYTHING = "/"
"""This folder lifts the restriction."""
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/timezone", "/etc/locale.alias", "/etc/mime.types"),
    *("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/java*", "/etc/crypto-policies"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/os-release", "/etc/debian_version"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/version"),
    *("/proc/sys", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm"),
)
_VARIABLES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "JAVA_HOME", "NODE_PATH", "NO_COLOR"),
        *(
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "PYTHONPATH",
            "PYTHONHOME",
            "PYENV_ROOT",
            "PYENV_VERSION",
        ),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "SYSTEMROOT"),
    )
)
_VARIABLE_PREFIXES = ("LC_", "PYTHON")
_SECONDS_TO_ANSWER = 30
_INTERPRETER_SCRIPT = """
import json, os, sys, sysconfig
found = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.realpath(sys.executable), *sys.path]
print(json.dumps(found + [p for p in sysconfig.get_paths().values()]))
"""


def readable_files(reference: Reference) -> list[str] | None:
    """Return the files and folders that a projection's worker can read; None: everything."""
    if reference.readable is None or EVERYTHING in reference.readable:
        return None
    paths = [*_system_files(), str(Path(__file__).parents[1] / "worker")]
    # A program in another language is a child process with its own /proc/self, so it needs /proc.
    paths.append("/proc" if reference.command else "/proc/self")
    paths += _interpreter_folders(reference.python)
    paths += _code_folders(reference)
    paths += reference.readable
    home = os.path.realpath(Path.home())
    given = {os.path.realpath(path) for path in reference.readable}
    kept = [path for path in dict.fromkeys(paths) if os.path.realpath(path) not in (home, "/")]
    return kept + sorted(given - set(kept))


def visible_variables(reference: Reference, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that a worker gets: the known harmless ones, or all of them
    if it may read everything."""
    if reference.readable is None or EVERYTHING in reference.readable:
        return dict(variables)
    return {
        name: value
        for name, value in variables.items()
        if name in _VARIABLES or name.startswith(_VARIABLE_PREFIXES)
    }


def _system_files() -> Iterator[str]:
    for pattern in _SYSTEM:
        yield from glob.glob(pattern) if "*" in pattern else [pattern]  # noqa: PTH207


def _code_folders(reference: Reference) -> Iterator[str]:
    """The folders of the projection's code, and of the program that runs it."""
    if not is_program(reference.text):
        file = Path(reference.text.rpartition(":")[0] or reference.text)
        yield str(file.parent) if file.is_file() else reference.cwd
        return
    program = shutil.which(reference.command[0])
    if program is not None:
        yield program
        yield str(Path(os.path.realpath(program)).parent.parent)
    for word in reference.command[1:]:
        file = Path(reference.cwd, word)
        if file.exists():
            yield str(file.parent if file.is_file() else file)


def _interpreter_folders(python: str) -> Sequence[str]:
    program = shutil.which(python)
    if program is None:
        return []  # starting it raises the error
    return _ask_interpreter(program, os.stat(program).st_mtime_ns)  # noqa: PTH116


@functools.cache
def _ask_interpreter(python: str, changed: int) -> Sequence[str]:  # noqa: ARG001 - a part of the cache's key
    """Ask the interpreter, in a sandbox, for the folders of its libraries."""
    cell = Sandbox(
        [python, "-B", "-c", _INTERPRETER_SCRIPT],
        lambda _: None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        output, _ = cell.process.communicate(timeout=_SECONDS_TO_ANSWER)
        folders = json.loads(output.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        raise ProjectionError(
            f"{python} doesn't report the folders of its libraries; give --read-only-below / to let it"
            " read everything."
        ) from None
    finally:
        cell.end()
        cell.process.wait()
    return [str(folder) for folder in folders if folder]
