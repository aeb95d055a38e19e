"""One item of consent: something that a `refold.toml` can run or reach."""

import hashlib
import json
import sys
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from storage import regular_file

LIMIT_BYTES = 256 << 20
"""The largest file whose content is hashed; interpreters have some 30 MB."""
_MISSING = "missing"
_UNREADABLE = "not a regular file that can be read"


class Isolation(Enum):
    """Where an item runs."""

    SANDBOXED = "inside the sandbox"
    UNSANDBOXED = "outside the sandbox"


def native_isolation() -> Isolation:
    """Return the isolation of programs and interpreters that a worker starts.

    Without Linux's seccomp, only Python code is sandboxed, by an audit hook of the interpreter.
    """
    return Isolation.SANDBOXED if sys.platform.startswith("linux") else Isolation.UNSANDBOXED


@dataclass(frozen=True)
class NamedFile:
    """A local file that an item names, with its content as it is now."""

    name: str
    """The name in the declaration."""
    path: str
    """The absolute path, with links resolved."""
    content: str
    """The SHA-256 of its content, or the reason why there is none."""

    @property
    def exists(self) -> bool:
        return self.content != _MISSING


def read_named_file(folder: Path, name: str) -> NamedFile:
    """Return a file by its name in a folder, with the hash of its content."""
    try:
        path = (folder / name).resolve()
        return NamedFile(name, str(path), regular_file.sha256(path, LIMIT_BYTES))
    except FileNotFoundError:
        return NamedFile(name, str(folder / name), _MISSING)
    except (OSError, ValueError, RuntimeError):  # a name with a NUL, a circle of links
        return NamedFile(name, str(folder / name), _UNREADABLE)


@dataclass(frozen=True)
class ConsentItem:
    """One thing that a `refold.toml` runs or reaches, and its isolation."""

    name: str
    """Its table in the file: `projections.orders`, `ports.risk`, `sources.shop.decode.data`."""
    action: str
    """What it does, such as `runs the program sh evil.sh`."""
    isolation: Isolation
    declared: Any
    """Everything that the file declares about it, as JSON values."""
    files: tuple[NamedFile, ...] = ()

    @cached_property
    def digest(self) -> str:
        """The hash of what the person agrees to: the declaration and the contents of its files."""
        files = [[file.name, file.path, file.content] for file in self.files]
        content = [self.name, self.action, self.isolation.value, self.declared, files]
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def sentence(self) -> str:
        """The item in one line, without its files."""
        return f"{self.name} {self.action}, {self.isolation.value}"

    @property
    def text(self) -> str:
        """The item in one line, with the files whose contents are watched."""
        names = [file.name + ("" if file.exists else " (missing)") for file in self.files]
        return self.sentence + (f" (files: {', '.join(names)})" if names else "")
