"""What stands in the place of a secret: a keyed hash, so that equal secrets stay equal.

The key lies in the user's configuration and never in a workspace, or short secrets could be guessed.
"""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from storage import config_dir

PLACEHOLDER = re.compile(r"redacted-[0-9a-f]{16}")


def key_file() -> Path:
    """Where the key of the hashes lies."""
    return config_dir.path() / "redaction.key"


def user_key() -> bytes:
    """The user's key; made where there is none yet."""
    path = key_file()
    try:
        return bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError):
        pass
    made = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(path.read_text().strip())
    except OSError:
        return made  # nothing can be compared with what another process redacts
    with os.fdopen(descriptor, "w") as stream:
        stream.write(made.hex())
    return made


def placeholder(key: bytes, secret: str) -> str:
    """What stands for a secret."""
    digest = hmac.new(key, secret.encode("utf-8", "replace"), hashlib.sha256)
    return f"redacted-{digest.hexdigest()[:16]}"
