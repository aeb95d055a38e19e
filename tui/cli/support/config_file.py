"""Projections and sources that a `refold.toml` declares by name, and whether a person agreed to them.

    [projections.orders]
    code = "shop/orders.py:Orders"
    python = ".venv/bin/python"

    [ports.rates]                          # what handlers ask of the outside: `gateway.ports`
    live = "https://rates.example"

    [gateway]
    own_time = false                       # clocks and random numbers are this machine's

    [sources.shop]                         # `refold load shop`
    from = "postgresql://reader@db/shop?table=mt_events"
    map = { stream = "tenant_id" }
    redact = ["data.email"]

The file lies beside the workspace, or in the folder in which refold runs; its paths are relative to
it. It may have come with a stranger's workspace, so what it names runs only after the person agreed
once: at the terminal, or with `refold trust`. A file that has changed asks again.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway import overrides
from gateway import ports as gateway_ports
from gateway.modes import DEFAULT, Mode
from gateway.overrides import Override
from gateway.ports import Port, Ports
from gateway.settings import Settings
from replay.history import catalogue
from replay.projection import reference
from replay.projection.reference import Reference
from storage import config_dir
from storage.errors import ProjectionError, SourceError
from storage.ingest import payload_decoders, sources
from tui.text.sanitize import printable

NAME = "refold.toml"


class _Projection(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    python: str | None = None


class _Gateway(msgspec.Struct, forbid_unknown_fields=True):
    own_time: bool = True
    seed: int = 0


class Source(msgspec.Struct, forbid_unknown_fields=True, rename={"origin": "from"}):
    """A source with a name, and how it is loaded; the options of `refold load` by their names."""

    origin: str | list[str]
    map: dict[str, str] = {}
    decode: dict[str, str] = {}
    redact: list[str] = []
    format: str | None = None
    order_by: str | None = None

    @property
    def names(self) -> list[str]:
        return [self.origin] if isinstance(self.origin, str) else self.origin


class _File(msgspec.Struct):
    sources: dict[str, Source] = {}
    projections: dict[str, _Projection] = {}
    ports: Any = {}
    overrides: Any = []
    gateway: _Gateway = msgspec.field(default_factory=_Gateway)


@dataclass(frozen=True)
class Declarations:
    """What a `refold.toml` says."""

    path: Path
    content: bytes
    projections: dict[str, _Projection]
    sources: dict[str, Source]
    ports: dict[str, Port]
    overrides: Sequence[Override]
    gateway: _Gateway

    def reference(self, name: str, python: str | None) -> Reference:
        """The projection of that name; raises `ProjectionError` where nobody agreed to the file."""
        found = self.projections[name]
        self._agree(f"code to run: {found.code}")
        folder = self.path.parent
        chosen = python or found.python or catalogue.default_python()
        if python is None and found.python is not None and "/" in found.python:
            chosen = str(folder / found.python)
        # The file may be a stranger's, so its code reads only what lies beside it.
        return replace(reference.parse(found.code, chosen, folder), readable=(str(folder),))

    def source(self, name: str) -> Source:
        """The source of that name, its files where the file lies.

        Raises `ProjectionError` where it is elsewhere, or decoded by code that is named here, and
        nobody agreed to the file: what the environment knows of credentials would be sent there.
        """
        found = self.sources[name]
        remote = [sources.known_as(one) for one in found.names if sources.is_remote(one)]
        if remote:
            self._agree(f"a source to read: {', '.join(remote)}")
        folder = self.path.parent
        own = payload_decoders.code_in(found.decode)
        if own:
            self._agree(f"code that decodes: {', '.join(own)}")
        decode = {
            field: payload_decoders.beside(folder, how) for field, how in found.decode.items()
        }
        near = [one if sources.is_remote(one) else _beside(folder, one) for one in found.names]
        return msgspec.structs.replace(found, origin=near, decode=decode)

    def agree_to_call(self) -> None:
        """Let its ports be called live; raises `ProjectionError` where nobody agreed to the file."""
        live = {name: port.live for name, port in self.ports.items() if port.live is not None}
        if live:
            named = ", ".join(f"{name} ({place})" for name, place in live.items())
            self._agree(f"ports to call: {named}")

    def _agree(self, what: str) -> None:
        if self.agreed:
            return
        said = printable(f"{self.path} names {what}.")
        if not (os.isatty(0) and os.isatty(2)):
            raise ProjectionError(
                f"{said} Nobody has agreed to it yet; `refold trust {self.path}` does."
            )
        if not click.confirm(f"{said} Run what this file names, now and later?", err=True):
            raise ProjectionError(f"{self.path} was not agreed to, so nothing was run.")
        self.agree()

    @property
    def agreed(self) -> bool:
        return _agreements().get(str(self.path)) == self._digest

    def agree(self) -> None:
        """Remember that the person agreed to this content of the file."""
        kept = _kept()
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
        unfinished.write_text(json.dumps({**_agreements(), str(self.path): self._digest}))
        unfinished.replace(kept)

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def read(path: Path) -> Declarations:
    """The declarations in a file; raises `ProjectionError` where they can't be understood."""
    try:
        content = path.read_bytes()
        file = msgspec.toml.decode(content, type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProjectionError(f"{path} can't be read: {error}.") from error
    ports = gateway_ports.parse(file.ports, str(path))
    changed = overrides.parse(file.overrides, str(path))
    named = file.projections, file.sources
    return Declarations(path.resolve(), content, *named, ports, changed, file.gateway)


def find(name: str, workspace: Path) -> Declarations | None:
    """The declarations that know this name: beside the workspace, or in the current folder."""
    return next((found for found in _there(workspace) if name in found.projections), None)


def find_source(name: str) -> Source | None:
    """The source that is declared under a name in the current folder; None where there is none.

    Raises `SourceError` where the file can't be understood, or nobody agreed to it.
    """
    there = Path.cwd() / NAME
    if Path(name).exists() or sources.is_remote(name) or not there.is_file():
        return None
    try:
        declared = read(there)
        return declared.source(name) if name in declared.sources else None
    except ProjectionError as error:
        raise SourceError(error.message) from error


def _beside(folder: Path, name: str) -> str:
    kind, colon, rest = name.partition(":")
    if colon and kind in ("sqlite", "duckdb"):
        return f"{kind}:{folder / rest}"
    return str(folder / name)


def settings(workspace: Path, config: Path | None = None, **wished: Any) -> Settings:
    """How projections meet the outside: by a file that was named, or the first that there is.

    `wished` are fields of the settings. Raises `ProjectionError` where the file lets calls of a
    replay go out, or is to be used for that, and nobody agreed to it.
    """
    found = read(config) if config is not None else next(_there(workspace), None)
    wanted: dict[str, Any] = dict(wished)
    mode = wanted.get("mode", DEFAULT)
    if found is None:
        return Settings(**wanted)
    goes_out = mode.goes_out or any("record" in port.missing for port in found.ports.values())
    if config is None and goes_out:
        found.agree_to_call()
    if mode is Mode.WHAT_IF:
        wanted.setdefault("overrides", found.overrides)
        wanted.setdefault("seed", found.gateway.seed)
    own_time = found.gateway.own_time and wanted.pop("own_time", True)
    return Settings(ports=Ports(found.ports), own_time=own_time, **wanted)


def overrides_in(file: Path) -> list[str]:
    """The `[[overrides]]` of a file, as JSON each; raises `ProjectionError`."""
    try:
        content = msgspec.toml.decode(file.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProjectionError(f"{file} can't be read: {error}.") from error
    found = overrides.parse(content.overrides, str(file))
    if not found:
        raise ProjectionError(f"{file} declares no [[overrides]].")
    return [msgspec.json.encode(one).decode() for one in found]


def _there(workspace: Path) -> Iterator[Declarations]:
    for folder in dict.fromkeys((workspace.resolve().parent, Path.cwd())):
        path = folder / NAME
        if path.is_file():
            yield read(path)


def _kept() -> Path:
    return config_dir.path() / "agreed.json"


def _agreements() -> dict[str, Any]:
    try:
        return dict(json.loads(_kept().read_text()))
    except (OSError, ValueError, TypeError):
        return {}


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), default=Path(NAME))
def trust(file: Path) -> None:
    """Agree that what a refold.toml names may be run."""
    if file.is_dir():
        file = file / NAME
    declared = read(file)
    declared.agree()
    for name, projection in declared.projections.items():
        click.echo(printable(f"{name}: {projection.code}"))
    for name, source in declared.sources.items():
        click.echo(printable(f"{name}: {', '.join(map(sources.known_as, source.names))}"))
