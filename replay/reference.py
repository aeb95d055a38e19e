"""What a person writes for a projection, and where its code is found.

A projection is named by a file (`orders.py`), by a class or object in one (`orders.py:Orders`), or
by a module that the worker can import (`shop.orders:Orders`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.errors import ProjectionError


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


def parse(text: str, python: str, cwd: Path) -> Reference:
    """The reference for what a person typed; raises `ProjectionError` where there is no such file."""
    # A folder may have a colon in its name.
    named = re.fullmatch(r"(.+?\.py)(?::([\w.]+))?", text)
    place, attribute = named.groups("") if named else text.partition(":")[::2]
    if place.endswith((".sql", ".js")) or text.startswith("cmd:"):
        raise ProjectionError(
            f"{text} is no Python projection; this version of refold folds Python ones only."
        )
    if place.endswith(".py"):
        path = (cwd / place).resolve()
        if not path.is_file():
            raise ProjectionError(f"There is no projection file {place}.")
        whole = f"{path}:{attribute}" if attribute else str(path)
        return Reference(whole, attribute or path.stem, python, str(cwd))
    if not re.fullmatch(r"[\w.]+(:[\w.]+)?", text):
        raise ProjectionError(
            f"{text!r} names no projection; give a file such as orders.py, or module:Name."
        )
    name = attribute or place.rsplit(".", 1)[-1]
    return Reference(text, name, python, str(cwd))


def identity(files: Mapping[str, str], interpreter: str) -> str:
    """A hash of the code that a projection is made of: its files' hashes and its interpreter.

    Where the files lie doesn't matter, so that the same code is the same projection anywhere.
    """
    content = sorted((Path(path).name, digest) for path, digest in files.items())
    text = json.dumps([content, interpreter])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unchanged(files: Mapping[str, str]) -> bool:
    """Whether every file still has the content that it had; runs no code."""
    for path, digest in files.items():
        try:
            if hashlib.sha256(Path(path).read_bytes()).hexdigest() != digest:
                return False
        except OSError:
            return False
    return True
