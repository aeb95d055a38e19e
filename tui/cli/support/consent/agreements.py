"""The person's agreements: for each `refold.toml` the digests of the items that were listed.

Each `refold.toml` has one agreement file in the user's configuration folder. refold replaces it
atomically and under a lock, because two processes may write at once. A damaged file counts as no
agreement.
"""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage import config_dir, regular_file
from storage.errors import ProjectionError
from tui.cli.support.consent.item import ConsentItem

_LIMIT_BYTES = 16 << 20


def agreed_digests(file: Path) -> dict[str, str]:
    """Return the digests that the person agreed to for a `refold.toml`, each with its item's name."""
    try:
        found = json.loads(regular_file.read_bytes(_place(file), _LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("file") != str(file):
        return {}
    items = found.get("items")
    if not isinstance(items, dict) or not all(isinstance(v, str) for v in items.values()):
        return {}
    return items


def keep_agreement(file: Path, items: Iterable[ConsentItem], *, only: bool) -> None:
    """Save that the person agreed to these items; `only` removes earlier agreements.

    Raises `ProjectionError` if the file can't be written.
    """
    new = {item.digest: item.name for item in items}
    try:
        with _locked():
            _write(file, new if only else {**agreed_digests(file), **new})
    except OSError as error:
        raise ProjectionError(
            f"The agreement to {file} can't be kept in {_folder()}: {error.strerror or error}."
            " Make that folder writable."
        ) from error


def revoke_agreement(file: Path) -> bool:
    """Remove all agreements to a `refold.toml`, and return whether there were any."""
    try:
        with _locked():
            _place(file).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ProjectionError(
            f"The agreement to {file} can't be removed from {_folder()}: {error.strerror or error}."
            " Make that folder writable."
        ) from error
    return True


def _folder() -> Path:
    return config_dir.config_folder() / "agreements"


def _place(file: Path) -> Path:
    name = hashlib.sha256(os.fsencode(file)).hexdigest()[:32]
    return _folder() / f"{name}.json"


@contextmanager
def _locked() -> Iterator[None]:
    _folder().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_folder() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(file: Path, items: dict[str, str]) -> None:
    for abandoned in _folder().glob(".unfinished-*"):  # by a killed process: only one writes here
        abandoned.unlink(missing_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=_folder(), prefix=".unfinished-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(json.dumps({"file": str(file), "items": items}))
            stream.flush()
            os.fsync(stream.fileno())
        Path(unfinished).replace(_place(file))
    except BaseException:
        with suppress(OSError):
            Path(unfinished).unlink()
        raise
