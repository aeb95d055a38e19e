"""Keyed hashes that replace secrets; equal secrets get equal hashes.

The key lies in the user's configuration and never in a workspace, because with the key short secrets
could be guessed.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from storage import config_dir
from storage.atomic_write import remove_unfinished, write_atomically
from storage.errors import ConfigurationError

PLACEHOLDER_PATTERN = re.compile(r"redacted-[0-9a-f]{16}")
_WRITTEN = re.compile(rb"[0-9a-fA-F]{64}")
"""The content of a key's file: 32 bytes in hexadecimal."""
_MOST_BYTES = 4_096


def key_path() -> Path:
    """Return the path of the key's file."""
    return config_dir.config_folder() / "redaction.key"


def load_or_create_key() -> bytes:
    """Return the user's key; the first call on a machine creates it.

    Raises `ConfigurationError` if the file doesn't hold a key, or can't be read or created. There is
    no substitute: hashes with an empty key can be guessed, and hashes with a temporary key match no
    others.
    """
    path = key_path()
    remove_unfinished(path.parent)  # a file of a killed process holds a key
    return _create_key(path) if (found := _read_key(path)) is None else found


def _read_key(path: Path) -> bytes | None:
    """Return the key in the file; None if there is no file."""
    try:
        # Opening a named pipe without O_NONBLOCK would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"The redaction key {path} can't be read: {error.strerror}."
            " Give yourself the right to read it."
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _no_key(path, "it is not a regular file")
        written = os.read(descriptor, _MOST_BYTES).strip()
    finally:
        os.close(descriptor)
    if not written:
        raise _no_key(path, "it is empty")
    if not _WRITTEN.fullmatch(written):
        raise _no_key(path, "it holds something else")
    return bytes.fromhex(written.decode())


def _no_key(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The redaction key {path} must be 64 hexadecimal digits (32 bytes), but {what}."
        " Restore it from a backup, or delete it: refold then makes a new key,"
        " and new hashes differ from those made before."
    )


def _create_key(path: Path) -> bytes:
    """Create the key completely or not at all; return the key in the file afterwards."""
    made = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, made.hex().encode(), replace=False, is_private=True)
    except FileExistsError:
        pass  # another process was faster: its key is the user's key
    except OSError as error:
        raise ConfigurationError(
            f"The redaction key {path} can't be created: {error.strerror}."
            " Make room or give yourself the right to write there, or set XDG_CONFIG_HOME to another folder."
        ) from error
    found = _read_key(path)
    if found is None:
        raise ConfigurationError(
            f"The redaction key {path} was deleted while it was created. Run the command again."
        )
    return found


def make_placeholder(key: bytes, secret: str) -> str:
    """Return the text that replaces a secret: `redacted-` and 16 hexadecimal digits."""
    digest = hmac.new(key, secret.encode("utf-8", "replace"), hashlib.sha256)
    return f"redacted-{digest.hexdigest()[:16]}"
