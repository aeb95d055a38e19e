"""The `refold.toml`: projections, sources and ports by name, used only with the person's consent.

    [projections.orders]
    code = "shop/orders.py:Orders"
    python = ".venv/bin/python"

    [ports.rates]                          # what handlers ask of the outside: `gateway.ports`
    live = "https://rates.example"

    [gateway]
    own_time = false                       # take clocks and random numbers from this machine

    [sources.shop]                         # `refold load shop`
    from = "postgresql://reader@db/shop?table=mt_events"
    map = { stream = "tenant_id" }
    redact = ["data.email"]

The file lies beside the workspace, or in the folder in which refold runs; its paths are relative to
it. It may have come with a stranger's workspace, so refold runs or reaches what it names only after
the person agreed to it by name: see `tui.cli.support.consent`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from gateway import overrides
from gateway import ports as gateway_ports
from gateway.modes import DEFAULT_MODE, Mode
from gateway.overrides import Override
from gateway.ports import Port, PortSet
from gateway.settings import GatewaySettings
from replay.history import catalogue
from replay.projection import projection_reference
from replay.projection.projection_reference import Reference
from storage.errors import ProjectionError, SourceError
from storage.ingest import payload_decoders, sources
from tui.cli.support import progress_display
from tui.cli.support.config_schema import DeclaredProjection, DeclaredSource
from tui.cli.support.consent import ConsentItem, declared_items, require_consent

NAME = "refold.toml"


class _GatewaySection(msgspec.Struct, forbid_unknown_fields=True):
    own_time: bool = True
    seed: int = 0


class _ConfigFile(msgspec.Struct):
    sources: dict[str, DeclaredSource] = {}
    projections: dict[str, DeclaredProjection] = {}
    ports: Any = {}
    overrides: Any = []
    gateway: _GatewaySection = msgspec.field(default_factory=_GatewaySection)


@dataclass(frozen=True)
class Declarations:
    """The content of a `refold.toml`."""

    path: Path
    content: bytes
    projections: dict[str, DeclaredProjection]
    sources: dict[str, DeclaredSource]
    ports: dict[str, Port]
    overrides: Sequence[Override]
    gateway: _GatewaySection

    def reference(self, name: str, python: str | None) -> Reference:
        """Return the projection of that name. Raises `ProjectionError` if the person didn't agree."""
        found = self.projections[name]
        folder = self.path.parent
        self._require(
            lambda: declared_items.projection_items(folder, name, found, with_python=python is None)
        )
        chosen = python or found.python or catalogue.default_python()
        if python is None and found.python is not None and "/" in found.python:
            chosen = str(folder / found.python)
        # The file may come from a stranger, so its code may read only the file's folder.
        return replace(
            projection_reference.parse_reference(found.code, chosen, folder),
            readable=(str(folder),),
        )

    def source(self, name: str) -> DeclaredSource:
        """Return the source of that name, with paths relative to the folder of the `refold.toml`.

        Raises `ProjectionError` if the person didn't agree to a source outside this folder, or to
        the file of a decoder: reading them could send credentials of the environment there.
        """
        found = self.sources[name]
        folder = self.path.parent
        self._require(lambda: declared_items.source_items(folder, name, found))
        decode = {
            field: payload_decoders.resolve_code_path(folder, how)
            for field, how in found.decode.items()
        }
        near = [
            one if sources.is_remote(one) else _resolve_beside(folder, one) for one in found.names
        ]
        return msgspec.structs.replace(found, origin=near, decode=decode)

    def agree_to_call(self, *, replaying: bool) -> None:
        """Allow live calls to its ports. Raises `ProjectionError` if the person didn't agree."""
        self._require(lambda: self.called(replaying=replaying))

    def called(self, *, replaying: bool) -> Iterator[ConsentItem]:
        """Yield the ports that are called live; if `replaying`, only those with `missing = record`."""
        ports = self.ports.items()
        called = {n: port for n, port in ports if not replaying or "record" in port.missing}
        return declared_items.port_items(self.path.parent, called)

    def consent_items(self) -> list[ConsentItem]:
        """Return everything that the file can run or reach."""
        folder = self.path.parent
        found: list[ConsentItem] = []
        for name, projection in self.projections.items():
            found += declared_items.projection_items(folder, name, projection, with_python=True)
        found += declared_items.port_items(folder, self.ports)
        for name, source in self.sources.items():
            found += declared_items.source_items(folder, name, source)
        return found

    def _require(self, list_items: Callable[[], Iterator[ConsentItem]]) -> None:
        require_consent(self.path, lambda: list(list_items()))


def read_config(path: Path) -> Declarations:
    """Return the declarations in a file. Raises `ProjectionError` if it is invalid."""
    try:
        content = path.read_bytes()
        file = msgspec.toml.decode(content, type=_ConfigFile)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProjectionError(f"{path} can't be read: {error}.") from error
    ports = gateway_ports.parse_ports(file.ports, str(path))
    changed = overrides.parse_overrides(file.overrides, str(path))
    named = file.projections, file.sources
    return Declarations(path.resolve(), content, *named, ports, changed, file.gateway)


class NearbyConfigs:
    """The `refold.toml` files that a command can use: beside WS, and in the current folder.

    Each file is read once, when it is needed first.
    """

    def __init__(self, workspace: Path) -> None:
        folders = dict.fromkeys((workspace.resolve().parent, Path.cwd()))
        self._paths = [folder / NAME for folder in folders]
        self._read: dict[Path, Declarations] = {}

    def find_declaring(self, projection: str) -> Declarations | None:
        """Return the first file that declares this projection."""
        return next((found for found in self._iterate() if projection in found.projections), None)

    def gateway_settings(self, config: Path | None = None, **overriding: Any) -> GatewaySettings:
        """Return the gateway settings of a file: `config`, or else the first file found.

        `overriding` are fields of the settings. A file given with --config needs no further consent,
        like code given with -p. Raises `ProjectionError` if refold found the file itself, its ports
        would be called live, and the person didn't agree.
        """
        found = next(self._iterate(), None) if config is None else read_config(config)
        wanted: dict[str, Any] = dict(overriding)
        mode: Mode = wanted.get("mode", DEFAULT_MODE)
        if found is None:
            return GatewaySettings(**wanted)
        if config is None:
            found.agree_to_call(replaying=not mode.makes_live_calls)
        else:
            for item in found.called(replaying=not mode.makes_live_calls):
                progress_display.print_message(f"Allowed by --config: {item.sentence}.")
        if mode is Mode.WHAT_IF:
            wanted.setdefault("overrides", found.overrides)
            wanted.setdefault("seed", found.gateway.seed)
        own_time = found.gateway.own_time and wanted.pop("own_time", True)
        return GatewaySettings(
            ports=PortSet(found.ports), own_time=own_time, folder=found.path.parent, **wanted
        )

    def _iterate(self) -> Iterator[Declarations]:
        for path in self._paths:
            if path not in self._read and path.is_file():
                self._read[path] = read_config(path)
            if path in self._read:
                yield self._read[path]


def find_declared_source(name: str) -> DeclaredSource | None:
    """Return the source that the `refold.toml` of the current folder declares, or None.

    Raises `SourceError` if the file is invalid, or the person didn't agree to the source.
    """
    path = Path.cwd() / NAME
    if Path(name).exists() or sources.is_remote(name) or not path.is_file():
        return None
    try:
        declared = read_config(path)
        return declared.source(name) if name in declared.sources else None
    except ProjectionError as error:
        raise SourceError(error.message) from error


def _resolve_beside(folder: Path, name: str) -> str:
    kind, colon, rest = name.partition(":")
    if colon and kind in ("sqlite", "duckdb"):
        return f"{kind}:{folder / rest}"
    return str(folder / name)


def read_overrides(file: Path) -> list[str]:
    """Return the `[[overrides]]` of a file, each as JSON. Raises `ProjectionError` if there are none."""
    try:
        content = msgspec.toml.decode(file.read_bytes(), type=_ConfigFile)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProjectionError(f"{file} can't be read: {error}.") from error
    found = overrides.parse_overrides(content.overrides, str(file))
    if not found:
        raise ProjectionError(f"{file} declares no [[overrides]].")
    return [msgspec.json.encode(one).decode() for one in found]
