"""Where refold keeps what is the user's own, and in no workspace."""

import os
from pathlib import Path


def config_folder() -> Path:
    """The folder of what can't be had again; it may not be there yet."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "refold"


def cache_folder() -> Path:
    """The folder of what can; it may not be there yet."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "refold"
