"""The folders for the user's own files that belong to no workspace."""

from pathlib import Path

from platformdirs.unix import Unix

# On macOS too: the folders of the XDG specification, where refold's files are and its documents say.
_FOLDERS = Unix("refold", appauthor=False)


def config_folder() -> Path:
    """The folder for files that can't be recreated; it may not exist yet."""
    return _FOLDERS.user_config_path


def cache_folder() -> Path:
    """The folder for files that can be recreated; it may not exist yet."""
    return _FOLDERS.user_cache_path
