"""Read objects of a store, `s3://BUCKET/KEY` and `gs://BUCKET/KEY`; refold never writes to a store.

Credentials come from where the store's own tools find them (the environment, a profile, the machine's
role); `gs://anonymous@BUCKET/KEY` needs none. A name may end with parameters:
`?endpoint_override=HOST:PORT&scheme=http` for a compatible server, and `region=R`.
"""

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from storage.errors import SourceError, summarize_error

SCHEMES = ("s3://", "gs://", "gcs://")
_WILDCARDS = "*?["
_ANONYMOUS = "anonymous@"
"""The prefix of a public bucket, which is read without credentials."""
_RETRY_PARAMETER = "retry_limit_seconds"


def is_object(name: str) -> bool:
    """Return whether a source name is the name of an object."""
    return name.lower().startswith(SCHEMES)


def redact_uri(name: str) -> str:
    """Return the name without its parameters (endpoint, scheme and the like)."""
    scheme, _, rest = name.partition("://")
    return f"{scheme}://{_split_parameters(rest)[0]}"


def list_objects(name: str) -> list[str]:
    """Return the names of the objects that match a name or a pattern, unordered.

    Raises `SourceError` if none matches, the store can't be read, or the name holds credentials.
    """
    scheme, _, rest = name.partition("://")
    bucket_and_key, parameters = _split_parameters(rest)
    if "@" in bucket_and_key.partition("/")[0].removeprefix(_ANONYMOUS):
        raise SourceError(
            "The name of an object must not hold credentials. Put them where the store's tools find"
            " them, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    if not any(mark in bucket_and_key for mark in _WILDCARDS):
        return [name]
    first = min(bucket_and_key.index(mark) for mark in _WILDCARDS if mark in bucket_and_key)
    folder = bucket_and_key[:first].rpartition("/")[0]
    from pyarrow import fs  # noqa: PLC0415 - slow to import and rarely needed

    system, within = _open_filesystem(f"{scheme}://{folder}{parameters}", name)
    pattern = within + bucket_and_key[len(folder) :]
    with _translate_errors(name):
        infos = system.get_file_info(fs.FileSelector(within, recursive=True, allow_not_found=True))
    paths = [info.path for info in infos if info.is_file and _matches_pattern(info.path, pattern)]
    if not paths:
        raise SourceError(f"No object matches {redact_uri(name)}.")
    anonymous_prefix = _ANONYMOUS if bucket_and_key.startswith(_ANONYMOUS) else ""
    return [f"{scheme}://{anonymous_prefix}{path}{parameters}" for path in paths]


def read_size_and_time(name: str) -> tuple[int, int]:
    """Return an object's bytes and its time of writing in nanoseconds.

    Raises `SourceError` if the object doesn't exist or the store can't be read.
    """
    system, path = _open_filesystem(name, name)
    with _translate_errors(name):
        info = system.get_file_info(path)
    if not info.is_file:
        raise SourceError(f"There is no object {redact_uri(name)}.")
    return info.size, info.mtime_ns or 0


def open_object(name: str) -> io.BufferedReader:
    """Return a stream of an object's bytes; raises `SourceError` if it can't be read."""
    system, path = _open_filesystem(name, name)
    with _translate_errors(name):
        return io.BufferedReader(system.open_input_file(path), 1 << 20)


@contextmanager
def local_copy(name: str) -> Iterator[str]:
    """Yield the path of a local file with the same bytes, for readers that need a file.

    For an object this is a temporary copy; a path of a file is yielded unchanged.
    """
    if not is_object(name):
        yield name
        return
    *folders, last = redact_uri(name).split("/")
    with tempfile.TemporaryDirectory(prefix="refold-") as outer:
        # Keep folders such as `year=2026`: they are columns of Parquet.
        folder = Path(outer, *(one for one in folders if "=" in one))
        folder.mkdir(parents=True, exist_ok=True)
        local = folder / last
        with open_object(name) as stream, local.open("wb") as target:
            shutil.copyfileobj(stream, target, 1 << 22)
        yield str(local)


def _open_filesystem(link: str, name: str) -> tuple[Any, str]:
    from pyarrow import fs  # noqa: PLC0415 - slow to import and rarely needed

    if not link.startswith("s3://") and _RETRY_PARAMETER not in link:
        # Without a limit Google's client retries for 15 minutes. The limit is in seconds.
        link += f"{'&' if _split_parameters(link)[1] else '?'}{_RETRY_PARAMETER}=20"
    with _translate_errors(name):
        return fs.FileSystem.from_uri(link)  # type: ignore[no-any-return]


def _split_parameters(rest: str) -> tuple[str, str]:
    """Return bucket and key, and the parameters with their question mark.

    A question mark in the key itself is a wildcard.
    """
    if not _has_parameters(rest):
        return rest, ""
    bucket_and_key, _, parameters = rest.rpartition("?")
    return bucket_and_key, f"?{parameters}"


def _has_parameters(rest: str) -> bool:
    return "=" in rest.rpartition("?")[2] and "?" in rest and "/" not in rest.rpartition("?")[2]


def _matches_pattern(path: str, pattern: str) -> bool:
    """Return whether a path matches as in a shell: `*` stops at a slash, `**` doesn't."""
    if "**" in pattern:
        return fnmatchcase(path, pattern.replace("**/", "*"))
    steps, pattern_steps = path.split("/"), pattern.split("/")
    return len(steps) == len(pattern_steps) and all(map(fnmatchcase, steps, pattern_steps))


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Raise a store's errors as `SourceError`."""
    from pyarrow import ArrowException  # noqa: PLC0415 - slow to import and rarely needed

    try:
        yield
    except (OSError, ValueError, ArrowException) as error:
        raise _translate_error(name, error) from error


def _translate_error(name: str, error: Exception) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"There is no object {redact_uri(name)}.")
    if "create a OAuth2 access token" in str(error):
        return SourceError(
            f"{redact_uri(name)} can't be read, because no credentials were found. Log in with"
            " `gcloud auth application-default login`, or write"
            f" gs://{_ANONYMOUS}… if the bucket is public."
        )
    return SourceError(f"{redact_uri(name)} can't be read ({summarize_error(error)}).")
