"""The folders for the user's own files that belong to no workspace."""

import os
from pathlib import Path


def config_folder() -> Path:
    """The folder for files that can't be recreated; it may not exist yet."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "refold"


def cache_folder() -> Path:
    """The folder for files that can be recreated; it may not exist yet."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "refold"
