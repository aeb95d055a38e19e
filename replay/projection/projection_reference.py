"""References to projections: what a person writes to name one, and where its code lies.

A reference is a file (`orders.py`), a class or object in a file (`orders.py:Orders`), a module that the
worker can import (`shop.orders:Orders`), a SQL file (`orders.sql`), or the command of a program that
speaks the worker protocol (`cmd:node orders.js`).
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
from storage.timelines.forked_workspace import list_fork_values
from storage.workspace.workspace import Workspace

_PROGRAM_PREFIX = "cmd:"
_ALL_FILES_BYTES = 1 << 30
"""The maximum total size of a projection's files in bytes."""
_SQL_SUFFIX = ".sql"


@dataclass(frozen=True)
class Reference:
    """A projection as the user named it. refold runs only code that the user named."""

    text: str
    """The reference as text; the path of a file is absolute."""
    name: str
    """The projection's name: `orders` for `orders.py`, the class's name for `orders.py:Orders`."""
    python: str
    """The interpreter that runs it."""
    cwd: str
    """The folder in which it runs and from which it can import."""
    gateway_settings: GatewaySettings = DEFAULT_SETTINGS
    """How the gateway answers its calls."""
    readable: tuple[str, ...] | None = None
    """Folders that its code can read besides its interpreter and its own folder; None: everything.
    See `replay.worker_host.readable_files`."""

    @property
    def command(self) -> list[str]:
        """The words of a program's command; empty for Python code."""
        return shlex.split(self.text[len(_PROGRAM_PREFIX) :]) if is_program(self.text) else []

    @property
    def is_sql(self) -> bool:
        """Whether it is a SQL file."""
        return is_sql(self.text)


def is_program(text: str) -> bool:
    """Return whether a reference names the command of a program."""
    return text.startswith(_PROGRAM_PREFIX)


def is_sql(text: str) -> bool:
    """Return whether a reference names a SQL file."""
    return text.endswith(_SQL_SUFFIX) and not is_program(text)


def parse_reference(text: str, python: str, cwd: Path) -> Reference:
    """Return the reference that a person typed.

    `cwd` is the folder to which relative paths refer. Raises `ProjectionError` if the text is not a
    reference, or if the file doesn't exist.
    """
    if is_program(text):
        return _parse_program(text, cwd)
    # A folder may have a colon in its name.
    named = re.fullmatch(r"(.+?\.py)(?::([\w.]+))?", text)
    module_or_file, attribute = named.groups("") if named else text.partition(":")[::2]
    if module_or_file.endswith((".js", ".mjs", ".ts", ".jar", ".java")):
        raise ProjectionError(
            f"{text} is not a Python projection. Name a projection in another language by its"
            f" command, such as cmd:node {text} (docs/protocol.md)."
        )
    if f"{_SQL_SUFFIX}:" in text:
        raise ProjectionError(
            f"{text} names a part of a SQL file, but a SQL file is one projection. Write"
            f" {text.partition(_SQL_SUFFIX)[0]}{_SQL_SUFFIX}."
        )
    if is_sql(text):
        if not (cwd / text).is_file():
            raise ProjectionError(f"There is no projection file {text}.")
        # This process's DuckDB runs it, so the interpreter is part of its identity.
        return Reference(str((cwd / text).resolve()), Path(text).stem, sys.executable, str(cwd))
    if module_or_file.endswith(".py"):
        path = (cwd / module_or_file).resolve()
        if not path.is_file():
            raise ProjectionError(f"There is no projection file {module_or_file}.")
        absolute_text = f"{path}:{attribute}" if attribute else str(path)
        return Reference(absolute_text, attribute or path.stem, python, str(cwd))
    if not re.fullmatch(r"[\w.]+(:[\w.]+)?", text):
        raise ProjectionError(
            f"{text!r} is not a projection. Give a file such as orders.py, or module:Name."
        )
    name = attribute or module_or_file.rsplit(".", 1)[-1]
    return Reference(text, name, python, str(cwd))


def _parse_program(text: str, cwd: Path) -> Reference:
    try:
        words = shlex.split(text[len(_PROGRAM_PREFIX) :])
    except ValueError as error:
        raise ProjectionError(f"{text!r} is not a valid command: {error}.") from error
    if not words:
        raise ProjectionError(
            "cmd: names no program. Give its command, such as cmd:node orders.js."
        )
    files = [word for word in words[1:] if _is_file(cwd / word)]
    # refold's own interpreter runs the worker that talks to the program.
    return Reference(text, Path((files or words)[0]).stem, sys.executable, str(cwd))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a word may be too long for a path, such as a program passed with `-c`
        return False


def apply_timeline_answers(workspace: Workspace, reference: Reference) -> Reference:
    """Return the reference with the answers that the forks of the workspace's timeline override."""
    fork_overrides: list[Override] = []
    for fork in list_fork_values(workspace):
        answers = [
            msgspec.json.decode(edit.value or "")
            for edit in fork.active_edits
            if edit.kind is EditKind.ANSWERS
        ]
        fork_overrides += overrides.parse_overrides(answers, f"the fork {fork.name}")
    if not fork_overrides:
        return reference
    own = reference.gateway_settings
    settings = replace(own, mode=Mode.WHAT_IF, overrides=[*own.overrides, *fork_overrides])
    return replace(reference, gateway_settings=settings)


def hash_projection(
    files: Mapping[str, str], python: str, settings: GatewaySettings = DEFAULT_SETTINGS
) -> str:
    """Return a hash of a projection's identity: the hashes of its files, its interpreter, its settings.

    The folders of the files don't count, so the same code is the same projection anywhere.
    """
    content = sorted((Path(path).name, digest) for path, digest in files.items())
    text = json.dumps([content, python, *filter(None, [settings.digest])])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def are_files_unchanged(files: Mapping[str, str]) -> bool:
    """Return whether every file still has the content of its hash. Runs no code.

    Files above 1 GiB in total, and paths that are not regular files, count as changed.
    """
    remaining_bytes = _ALL_FILES_BYTES
    for path, digest in files.items():
        try:
            remaining_bytes -= os.stat(path).st_size  # noqa: PTH116 - may be an invalid path
            if remaining_bytes < 0 or regular_file.sha256(Path(path), remaining_bytes) != digest:
                return False
        except (OSError, ValueError):
            return False
    return True
