"""Finds Python interpreters on this machine, and creates environments without any library."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest


@cache
def find(version: str) -> str | None:
    """Return an interpreter of that version, on the path or installed by pyenv; None without one."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [
        *([sys.executable] if "{}.{}".format(*sys.version_info) == version else []),
        *filter(None, [shutil.which(f"python{version}")]),
        *(str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))),
    ]
    for candidate in candidates:
        command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.stdout.strip() == version:
            return candidate
    return None


VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", *(["3.14"] if find("3.14") else []))
"""The versions that tests need, and 3.14 if it is installed."""


def bare(version: str, folder: Path) -> str:
    """Create an environment of that version without packages; return its interpreter.

    Skips the test if there is no such Python.
    """
    python = find(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    target = folder / f"bare-{version}"
    if not target.exists():
        subprocess.run([python, "-m", "venv", "--without-pip", target], check=True)
    return str(target / "bin" / "python")
