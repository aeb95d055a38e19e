"""The items of a `refold.toml`: what each of its tables can make run or reach."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from glob import has_magic
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import UNSET

from gateway.ports import Port
from replay.projection import projection_reference
from storage.ingest import payload_decoders, sources
from tui.cli.support.consent.item import (
    ConsentItem,
    Isolation,
    NamedFile,
    native_isolation,
    read_named_file,
)

if TYPE_CHECKING:
    from tui.cli.support.config_schema import DeclaredProjection, DeclaredSource

_PROGRAM = "cmd:"
_VARIABLE = re.compile(r"\$\{?(\w+)")


def projection_items(
    folder: Path, name: str, projection: "DeclaredProjection", *, with_python: bool
) -> Iterator[ConsentItem]:
    """The code of a projection, and its interpreter if the file's own is used (`with_python`)."""
    code = projection.code
    if projection_reference.is_program(code):
        action = f"runs the program {code.removeprefix(_PROGRAM)}"
        isolation = native_isolation()
        files = _program_files(folder, code.removeprefix(_PROGRAM))
    elif projection_reference.is_sql(code):
        action = f"runs the SQL of {code} in a database that opens no files"
        isolation = Isolation.UNSANDBOXED
        files = (read_named_file(folder, code),)
    else:
        action, isolation = f"runs the code {code}", Isolation.SANDBOXED
        files = _code_files(folder, code)
    yield ConsentItem(f"projections.{name}", action, isolation, code, files)
    if with_python and projection.python is not None:
        yield ConsentItem(
            f"projections.{name}.python",
            f"runs the interpreter {projection.python}",
            native_isolation(),
            projection.python,
            (read_named_file(folder, projection.python),) if "/" in projection.python else (),
        )


def port_items(folder: Path, ports: Mapping[str, Port]) -> Iterator[ConsentItem]:
    """What ports start or send; a port answered only from recordings yields none."""
    for name, port in ports.items():
        actions = list(_port_actions(port))
        if not actions:
            continue
        files: tuple[NamedFile, ...] = ()
        if port.live is not None and port.live.startswith(_PROGRAM):
            files = _program_files(folder, port.live.removeprefix(_PROGRAM))
        declared = {
            field: value
            for field in port.__struct_fields__
            if (value := getattr(port, field)) is not UNSET
        }
        values = msgspec.to_builtins(declared, enc_hook=str)
        text = " and ".join(actions)
        yield ConsentItem(f"ports.{name}", text, Isolation.UNSANDBOXED, values, files)


def source_items(folder: Path, name: str, source: "DeclaredSource") -> Iterator[ConsentItem]:
    """Yield a source outside the file's folder, and the decoders of its payloads."""
    elsewhere = [one for one in source.names if _is_elsewhere(folder, one)]
    if elsewhere:
        shown = ", ".join(map(sources.stored_name, elsewhere))
        config = [value for one in elsewhere for value in _client_files(one)]
        files = tuple(read_named_file(Path.cwd(), value) for value in config)
        declared = msgspec.to_builtins(source)
        action = f"reads the source {shown}"
        yield ConsentItem(f"sources.{name}", action, Isolation.UNSANDBOXED, declared, files)
    for field, how in source.decode.items():
        files = tuple(
            read_named_file(folder, _expanded(one)) for one in payload_decoders.files_in(how)
        )
        runs = bool(payload_decoders.list_user_code({field: how}))
        if runs or files:
            yield ConsentItem(
                f"sources.{name}.decode.{field}",
                f"{'runs the decoder' if runs else 'reads the schema of'} {how}",
                Isolation.SANDBOXED if runs else Isolation.UNSANDBOXED,
                how,
                files,
            )


def _expanded(name: str) -> str:
    """Return the name of a decoder's file, with `~` replaced by the home folder."""
    try:
        return str(Path(name).expanduser()) if name.startswith("~") else name
    except RuntimeError:  # no such user
        return name


def _port_actions(port: Port) -> Iterator[str]:
    live = port.live
    if live is not None and live.startswith(_PROGRAM):
        yield f"runs the program {live.removeprefix(_PROGRAM)}"
    elif live is not None:
        yield f"sends calls to {_without_login(live)}"
    if port.hosts or ("record" in port.missing and live is None):
        yield f"sends handlers' own calls to {', '.join(port.hosts) or 'any address'}"
    if "record" in port.missing:
        yield "does so in every replay"
    if port.kind == "query" or port.queries:
        which = "all of its calls" if port.kind == "query" else ", ".join(port.queries)
        yield f"sends {which} as queries"
    fields = [live or "", *port.headers.values()]
    variables = sorted({found for text in fields for found in _VARIABLE.findall(text)})
    if variables and not (live or "").startswith(_PROGRAM):
        yield f"sends the values of environment variables: {', '.join(variables)}"


def _without_login(live: str) -> str:
    """Return an address without user name and password."""
    try:
        parts = urlsplit(live)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError:
        return live


def _is_elsewhere(folder: Path, name: str) -> bool:
    """Return whether a source is on another machine, or a file outside the folder."""
    if sources.is_remote(name):
        return True
    kind, colon, rest = name.partition(":")
    path = rest.partition("?")[0] if colon and kind in ("sqlite", "duckdb") else name
    steps = Path(path).parts
    # Only loading shows what a pattern matches; the folders before the pattern are known now.
    plain = next((n for n, step in enumerate(steps) if has_magic(step)), len(steps))
    try:
        resolved = folder.joinpath(*steps[:plain]).resolve()
    except (OSError, ValueError, RuntimeError):
        return True
    return ".." in steps or not resolved.is_relative_to(folder.resolve())


def _client_files(name: str) -> list[str]:
    """Return files that a link names for its client, such as `config=client.properties`."""
    pairs = parse_qsl(name.partition("?")[2])
    return [value for key, value in pairs if key == "config"]


def _program_files(folder: Path, command: str) -> tuple[NamedFile, ...]:
    """Return the files that a command names: the program, its scripts, its modules."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ()
    names = [words[0]] if words and "/" in words[0] else []
    for before, word in pairwise(words):
        names += [word, word.partition("=")[2]]
        if before == "-m":
            names += _module_files(word)
    found = (
        read_named_file(folder, name) for name in dict.fromkeys(names) if _is_there(folder, name)
    )
    return tuple(found)


def _is_there(folder: Path, name: str) -> bool:
    """Return whether a word of a command is a file, not a folder or an option."""
    try:
        path = folder / name
        return bool(name) and path.exists() and not path.is_dir()
    except (OSError, ValueError):  # code that is written in the command is too long for a name
        return False


def _code_files(folder: Path, code: str) -> tuple[NamedFile, ...]:
    """Return the file of a Python projection; for `module:Name` those that the import may load."""
    named = re.fullmatch(r"(.+?\.py)(?::[\w.]+)?", code)
    if named:
        return (read_named_file(folder, named[1]),)
    names = _module_files(code.partition(":")[0])
    return tuple(read_named_file(folder, name) for name in names if _is_there(folder, name))


def _module_files(module: str) -> Sequence[str]:
    steps = module.split(".")
    packages = ["/".join(steps[: n + 1]) for n in range(len(steps))]
    inside = [f"{package}/__init__.py" for package in packages]
    return [*inside, f"{packages[-1]}.py", f"{packages[-1]}/__main__.py"]
