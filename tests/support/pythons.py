"""The interpreters of this machine, to run workers in; without a library, as in a bare environment."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest


@cache
def find(version: str) -> str | None:
    """An interpreter of that version: on the path, or of a version manager."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [
        *([sys.executable] if "{}.{}".format(*sys.version_info) == version else []),
        *filter(None, [shutil.which(f"python{version}")]),
        *(str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))),
    ]
    for candidate in candidates:
        asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        if said.stdout.strip() == version:
            return candidate
    return None


VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", *(["3.14"] if find("3.14") else []))
"""Those that tests need, and the newest where it is there, as few machines have it yet."""


def bare(version: str, folder: Path) -> str:
    """An environment of that version with nothing installed; skips where there is no such Python."""
    found = find(version)
    if found is None:
        pytest.skip(f"Python {version} is not installed")
    target = folder / f"bare-{version}"
    if not target.exists():
        subprocess.run([found, "-m", "venv", "--without-pip", target], check=True)
    return str(target / "bin" / "python")
