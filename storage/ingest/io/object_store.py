"""Objects in a store: `s3://BUCKET/KEY` and `gs://BUCKET/KEY` as files that are only read.

Credentials come from where the store's own tools find them (the environment, a profile, the machine's
role); `gs://anonymous@BUCKET/KEY` needs none. A link may say `?endpoint_override=HOST:PORT&scheme=http`
for what only speaks as such a store does, and `region=R`.
"""

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from storage.errors import SourceError, one_line

SCHEMES = ("s3://", "gs://", "gcs://")
_PATTERN = "*?["
_NOBODY = "anonymous@"
"""What stands before a bucket that everybody may read."""
_PATIENCE = "retry_limit_seconds"


def is_object(name: str) -> bool:
    return name.lower().startswith(SCHEMES)


def public(name: str) -> str:
    """The name without what is said of the way there."""
    scheme, _, rest = name.partition("://")
    return f"{scheme}://{_parted(rest)[0]}"


def expand(name: str) -> list[str]:
    """The objects that a name or a pattern stands for, unordered."""
    scheme, _, rest = name.partition("://")
    place, parameters = _parted(rest)
    if "@" in place.partition("/")[0].removeprefix(_NOBODY):
        raise SourceError(
            "Credentials don't belong into the name of an object; put them where the store's tools find"
            " them, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    if not any(mark in place for mark in _PATTERN):
        return [name]
    first = min(place.index(mark) for mark in _PATTERN if mark in place)
    folder = place[:first].rpartition("/")[0]
    from pyarrow import fs  # noqa: PLC0415 - it is large, and few need it

    system, within = _open(f"{scheme}://{folder}{parameters}", name)
    wanted = within + place[len(folder) :]
    with _told(name):
        infos = system.get_file_info(fs.FileSelector(within, recursive=True, allow_not_found=True))
    found = [info.path for info in infos if info.is_file and _matches(info.path, wanted)]
    if not found:
        raise SourceError(f"No object matches {public(name)}.")
    nobody = _NOBODY if place.startswith(_NOBODY) else ""
    return [f"{scheme}://{nobody}{path}{parameters}" for path in found]


def size_and_time(name: str) -> tuple[int, int]:
    """Bytes, and when it was written, in nanoseconds; raises `SourceError` where it isn't there."""
    system, path = _open(name, name)
    with _told(name):
        info = system.get_file_info(path)
    if not info.is_file:
        raise SourceError(f"There is no object {public(name)}.")
    return info.size, info.mtime_ns or 0


def open_object(name: str) -> io.BufferedReader:
    """Its bytes."""
    system, path = _open(name, name)
    with _told(name):
        return io.BufferedReader(system.open_input_file(path), 1 << 20)


@contextmanager
def as_file(name: str) -> Iterator[str]:
    """The path of a file with the same bytes, for readers that want one."""
    if not is_object(name):
        yield name
        return
    *folders, last = public(name).split("/")
    with tempfile.TemporaryDirectory(prefix="refold-") as outer:
        # Folders such as `year=2026` are columns of Parquet.
        folder = Path(outer, *(one for one in folders if "=" in one))
        folder.mkdir(parents=True, exist_ok=True)
        local = folder / last
        with open_object(name) as stream, local.open("wb") as target:
            shutil.copyfileobj(stream, target, 1 << 22)
        yield str(local)


def _open(link: str, name: str) -> tuple[Any, str]:
    from pyarrow import fs  # noqa: PLC0415 - as above

    if not link.startswith("s3://") and _PATIENCE not in link:
        # Google's client would go on asking for a quarter of an hour.
        link += f"{'&' if _parted(link)[1] else '?'}{_PATIENCE}=20"
    with _told(name):
        return fs.FileSystem.from_uri(link)  # type: ignore[no-any-return]


def _parted(rest: str) -> tuple[str, str]:
    """Bucket and key, and the parameters with their question mark, which in a key is a pattern."""
    if not _has_parameters(rest):
        return rest, ""
    place, _, parameters = rest.rpartition("?")
    return place, f"?{parameters}"


def _has_parameters(rest: str) -> bool:
    return "=" in rest.rpartition("?")[2] and "?" in rest and "/" not in rest.rpartition("?")[2]


def _matches(path: str, pattern: str) -> bool:
    """As the shell does: a star ends at a slash, two stars don't."""
    if "**" in pattern:
        return fnmatchcase(path, pattern.replace("**/", "*"))
    steps, wanted = path.split("/"), pattern.split("/")
    return len(steps) == len(wanted) and all(map(fnmatchcase, steps, wanted))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What a store complains of, as a `SourceError`."""
    from pyarrow import ArrowException  # noqa: PLC0415 - as above

    try:
        yield
    except (OSError, ValueError, ArrowException) as error:
        raise _trouble(name, error) from error


def _trouble(name: str, error: Exception) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"There is no object {public(name)}.")
    if "create a OAuth2 access token" in str(error):
        return SourceError(
            f"{public(name)} can't be read, as no credentials were found: log in with gcloud auth"
            f" application-default login, or write gs://{_NOBODY}… if everybody may read it."
        )
    return SourceError(f"{public(name)} can't be read ({one_line(error)}).")
