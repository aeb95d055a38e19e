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

from storage.errors import SourceError, summarize_error

SCHEMES = ("s3://", "gs://", "gcs://")
_WILDCARDS = "*?["
_ANONYMOUS = "anonymous@"
"""What stands before a bucket that everybody may read."""
_RETRY_PARAMETER = "retry_limit_seconds"


def is_object(name: str) -> bool:
    return name.lower().startswith(SCHEMES)


def redact_uri(name: str) -> str:
    """The name without what is said of the way there."""
    scheme, _, rest = name.partition("://")
    return f"{scheme}://{_split_parameters(rest)[0]}"


def list_objects(name: str) -> list[str]:
    """The objects that a name or a pattern stands for, unordered."""
    scheme, _, rest = name.partition("://")
    bucket_and_key, parameters = _split_parameters(rest)
    if "@" in bucket_and_key.partition("/")[0].removeprefix(_ANONYMOUS):
        raise SourceError(
            "Credentials don't belong into the name of an object; put them where the store's tools find"
            " them, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    if not any(mark in bucket_and_key for mark in _WILDCARDS):
        return [name]
    first = min(bucket_and_key.index(mark) for mark in _WILDCARDS if mark in bucket_and_key)
    folder = bucket_and_key[:first].rpartition("/")[0]
    from pyarrow import fs  # noqa: PLC0415 - it is large, and few need it

    system, within = _open_filesystem(f"{scheme}://{folder}{parameters}", name)
    pattern = within + bucket_and_key[len(folder) :]
    with _translate_errors(name):
        infos = system.get_file_info(fs.FileSelector(within, recursive=True, allow_not_found=True))
    found = [info.path for info in infos if info.is_file and _matches_pattern(info.path, pattern)]
    if not found:
        raise SourceError(f"No object matches {redact_uri(name)}.")
    anonymous_prefix = _ANONYMOUS if bucket_and_key.startswith(_ANONYMOUS) else ""
    return [f"{scheme}://{anonymous_prefix}{path}{parameters}" for path in found]


def read_size_and_time(name: str) -> tuple[int, int]:
    """Bytes, and when it was written, in nanoseconds; raises `SourceError` where it isn't there."""
    system, path = _open_filesystem(name, name)
    with _translate_errors(name):
        info = system.get_file_info(path)
    if not info.is_file:
        raise SourceError(f"There is no object {redact_uri(name)}.")
    return info.size, info.mtime_ns or 0


def open_object(name: str) -> io.BufferedReader:
    """Its bytes."""
    system, path = _open_filesystem(name, name)
    with _translate_errors(name):
        return io.BufferedReader(system.open_input_file(path), 1 << 20)


@contextmanager
def local_copy(name: str) -> Iterator[str]:
    """The path of a file with the same bytes, for readers that want one."""
    if not is_object(name):
        yield name
        return
    *folders, last = redact_uri(name).split("/")
    with tempfile.TemporaryDirectory(prefix="refold-") as outer:
        # Folders such as `year=2026` are columns of Parquet.
        folder = Path(outer, *(one for one in folders if "=" in one))
        folder.mkdir(parents=True, exist_ok=True)
        local = folder / last
        with open_object(name) as stream, local.open("wb") as target:
            shutil.copyfileobj(stream, target, 1 << 22)
        yield str(local)


def _open_filesystem(link: str, name: str) -> tuple[Any, str]:
    from pyarrow import fs  # noqa: PLC0415 - as above

    if not link.startswith("s3://") and _RETRY_PARAMETER not in link:
        # Google's client would go on asking for a quarter of an hour.
        link += f"{'&' if _split_parameters(link)[1] else '?'}{_RETRY_PARAMETER}=20"
    with _translate_errors(name):
        return fs.FileSystem.from_uri(link)  # type: ignore[no-any-return]


def _split_parameters(rest: str) -> tuple[str, str]:
    """Bucket and key, and the parameters with their question mark, which in a key is a pattern."""
    if not _has_parameters(rest):
        return rest, ""
    bucket_and_key, _, parameters = rest.rpartition("?")
    return bucket_and_key, f"?{parameters}"


def _has_parameters(rest: str) -> bool:
    return "=" in rest.rpartition("?")[2] and "?" in rest and "/" not in rest.rpartition("?")[2]


def _matches_pattern(path: str, pattern: str) -> bool:
    """As the shell does: a star ends at a slash, two stars don't."""
    if "**" in pattern:
        return fnmatchcase(path, pattern.replace("**/", "*"))
    steps, wanted = path.split("/"), pattern.split("/")
    return len(steps) == len(wanted) and all(map(fnmatchcase, steps, wanted))


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """What a store complains of, as a `SourceError`."""
    from pyarrow import ArrowException  # noqa: PLC0415 - as above

    try:
        yield
    except (OSError, ValueError, ArrowException) as error:
        raise _translate_error(name, error) from error


def _translate_error(name: str, error: Exception) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"There is no object {redact_uri(name)}.")
    if "create a OAuth2 access token" in str(error):
        return SourceError(
            f"{redact_uri(name)} can't be read, as no credentials were found: log in with gcloud auth"
            f" application-default login, or write gs://{_ANONYMOUS}… if everybody may read it."
        )
    return SourceError(f"{redact_uri(name)} can't be read ({summarize_error(error)}).")
