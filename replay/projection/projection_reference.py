"""What a person writes for a projection, and where its code is found.

A projection is named by a file (`orders.py`), by a class or object in one (`orders.py:Orders`), by
a module that the worker can import (`shop.orders:Orders`), by a file of SQL (`orders.sql`), or by
the command of a program that speaks the worker protocol (`cmd:node orders.js`).
"""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from gateway import overrides
from gateway.modes import Mode
from gateway.overrides import Override
from gateway.settings import DEFAULT_SETTINGS, GatewaySettings
from storage import regular_file
from storage.coordinates.edit_kind import EditKind
from storage.errors import ProjectionError
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import Workspace

_PROGRAM_PREFIX = "cmd:"
_ALL_FILES_BYTES = 1 << 30
"""What the files of a projection have at most."""
_SQL_SUFFIX = ".sql"


@dataclass(frozen=True)
class Reference:
    """A projection that a person named, and that so may be run."""

    text: str
    """Absolute where it is a file."""
    name: str
    """`orders` for `orders.py`, the class's name for `orders.py:Orders`."""
    python: str
    """The interpreter that runs it."""
    cwd: str
    """The folder in which it runs, and that it can import from."""
    gateway_settings: GatewaySettings = DEFAULT_SETTINGS
    """How it meets the outside."""
    readable: tuple[str, ...] | None = None
    """Folders that its code can read, beside its interpreter and its own; None: everything. See
    `readable_files`."""

    @property
    def command(self) -> list[str]:
        """The words of a program's command; none for Python code."""
        return shlex.split(self.text[len(_PROGRAM_PREFIX) :]) if is_program(self.text) else []

    @property
    def is_sql(self) -> bool:
        """Whether it is a query in SQL, and no Python code."""
        return is_sql(self.text)


def is_program(text: str) -> bool:
    """Whether a reference names a program's command, and no Python code."""
    return text.startswith(_PROGRAM_PREFIX)


def is_sql(text: str) -> bool:
    """Whether a reference names a file of SQL."""
    return text.endswith(_SQL_SUFFIX) and not is_program(text)


def parse_reference(text: str, python: str, cwd: Path) -> Reference:
    """The reference for what a person typed; raises `ProjectionError` where there is no such file."""
    if is_program(text):
        return _parse_program(text, cwd)
    # A folder may have a colon in its name.
    named = re.fullmatch(r"(.+?\.py)(?::([\w.]+))?", text)
    module_or_file, attribute = named.groups("") if named else text.partition(":")[::2]
    if module_or_file.endswith((".js", ".mjs", ".ts", ".jar", ".java")):
        raise ProjectionError(
            f"{text} is no Python projection; one in another language is named by its command,"
            f" such as cmd:node {text} (docs/protocol.md)."
        )
    if f"{_SQL_SUFFIX}:" in text:
        raise ProjectionError(
            f"A SQL file is one projection; write {text.partition(_SQL_SUFFIX)[0]}{_SQL_SUFFIX}."
        )
    if is_sql(text):
        if not (cwd / text).is_file():
            raise ProjectionError(f"There is no projection file {text}.")
        # This process's DuckDB runs it, so it matters which that is.
        return Reference(str((cwd / text).resolve()), Path(text).stem, sys.executable, str(cwd))
    if module_or_file.endswith(".py"):
        path = (cwd / module_or_file).resolve()
        if not path.is_file():
            raise ProjectionError(f"There is no projection file {module_or_file}.")
        absolute_text = f"{path}:{attribute}" if attribute else str(path)
        return Reference(absolute_text, attribute or path.stem, python, str(cwd))
    if not re.fullmatch(r"[\w.]+(:[\w.]+)?", text):
        raise ProjectionError(
            f"{text!r} names no projection; give a file such as orders.py, or module:Name."
        )
    name = attribute or module_or_file.rsplit(".", 1)[-1]
    return Reference(text, name, python, str(cwd))


def _parse_program(text: str, cwd: Path) -> Reference:
    try:
        words = shlex.split(text[len(_PROGRAM_PREFIX) :])
    except ValueError as error:
        raise ProjectionError(f"{text!r} is no command: {error}.") from error
    if not words:
        raise ProjectionError(
            "cmd: names no program; give its command, such as cmd:node orders.js."
        )
    files = [word for word in words[1:] if _is_file(cwd / word)]
    # Only this process's interpreter is needed, to speak to the program.
    return Reference(text, Path((files or words)[0]).stem, sys.executable, str(cwd))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a program that is written in its command is too long for a name
        return False


def apply_timeline_answers(workspace: Workspace, reference: Reference) -> Reference:
    """The projection as it meets the outside on the workspace's timeline, whose forks may have
    other answers."""
    fork_overrides: list[Override] = []
    current = workspace
    while isinstance(current, ForkedWorkspace):
        found = [
            msgspec.json.decode(e.value or "")
            for e in current.fork.active_edits
            if e.kind is EditKind.ANSWERS
        ]
        fork_overrides = [
            *overrides.parse_overrides(found, f"the fork {current.timeline}"),
            *fork_overrides,
        ]
        current = current.parent
    if not fork_overrides:
        return reference
    own = reference.gateway_settings
    settings = replace(own, mode=Mode.WHAT_IF, overrides=[*own.overrides, *fork_overrides])
    return replace(reference, gateway_settings=settings)


def hash_projection(
    files: Mapping[str, str], python: str, settings: GatewaySettings = DEFAULT_SETTINGS
) -> str:
    """A hash of what a projection is made of: its files' hashes, its interpreter, and its settings.

    Where the files lie doesn't matter, so that the same code is the same projection anywhere.
    """
    content = sorted((Path(path).name, digest) for path, digest in files.items())
    text = json.dumps([content, python, *filter(None, [settings.digest])])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def are_files_unchanged(files: Mapping[str, str]) -> bool:
    """Whether every file still has the content that it had; runs no code.

    Files that are larger than code ever is, and what is no regular file, count as changed.
    """
    left = _ALL_FILES_BYTES
    for path, digest in files.items():
        try:
            left -= os.stat(path).st_size  # noqa: PTH116 - a path of a stranger may be none
            if left < 0 or regular_file.sha256(Path(path), left) != digest:
                return False
        except (OSError, ValueError):
            return False
    return True
