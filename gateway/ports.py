"""Ports: names for services outside, and their declarations in `refold.toml`.

    [ports.rates]
    live = "https://rates.example"      # how to call it while recording
    missing = ["latest", "stub"]        # fallbacks for a query that was not recorded
    stub = {rate = "1.00"}
    redact = ["customer.iban"]

An undeclared port is answered from recordings too, but only HTTP calls of it can be recorded.
"""

from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from gateway.calls import CallKind
from storage.errors import ProjectionError

FallbackStep = Literal["latest", "nearest", "stub", "ask", "record"]
FALLBACK_STEPS: tuple[FallbackStep, ...] = ("latest", "nearest", "stub", "ask", "record")
"""Fallbacks for a query that was not recorded, in the order in which they are tried."""
_QUERY_METHODS = ("GET", "HEAD", "OPTIONS")


class Port(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The declaration of one port."""

    kind: Literal["query", "command"] | None = None
    """Kind of its calls; if left out, each call decides. For HTTP, GET, HEAD and OPTIONS are queries."""
    queries: list[str] = []
    commands: list[str] = []
    """Operations that are queries or commands, regardless of `kind`."""
    live: str | None = None
    """Address of the service: `https://…`, `postgresql://…`, `smtp://…`, or `cmd:` and a program."""
    operations: dict[str, str] = {}
    """How to make each operation live: `GET /v1/rate` for HTTP, a statement for PostgreSQL."""
    headers: dict[str, str] = {}
    """HTTP headers sent while recording; `$NAME` is replaced by an environment variable."""
    hosts: list[str] = []
    """Hosts whose HTTP calls belong to this port when handlers call them directly."""
    redact: list[str] = []
    """Paths in requests and answers to redact as well, such as `customer.iban`."""
    missing: list[FallbackStep] = []
    stub: Any = UNSET
    """Answer of commands that are not sent, and of unrecorded queries with the fallback `stub`."""
    timeout: float = 30.0
    """Seconds."""
    most: int = 64 << 20
    """Largest answer in bytes; a larger one is an error."""


class UndeclaredPortError(Exception):
    """A port doesn't declare how to call it live; the message says what to do."""


class PortSet:
    """All declared ports."""

    def __init__(self, declared: dict[str, Port] | None = None) -> None:
        self._declared = declared or {}
        self._by_host: dict[str, str] = {}
        for name, port in self._declared.items():
            if port.live and port.live.startswith(("http://", "https://")):
                authority = urlsplit(port.live).netloc.rpartition("@")[2].lower()
                self._by_host.setdefault(authority, name)
        for name, port in self._declared.items():  # `hosts` takes precedence over `live`
            self._by_host |= dict.fromkeys((host.lower() for host in port.hosts), name)

    @property
    def declared(self) -> dict[str, Port]:
        return self._declared

    def get_port(self, name: str) -> Port:
        """Return the declaration of a port; an empty one if it isn't declared."""
        return self._declared.get(name, _UNDECLARED_PORT)

    def find_port_of_url(self, url: str) -> str:
        """Return the port to which HTTP calls to a URL belong: a declared one, or the URL's host."""
        try:
            parts = urlsplit(url)
            host, authority = parts.hostname or "", parts.netloc.rpartition("@")[2]
        except ValueError:
            return url
        return (
            self._by_host.get(authority.lower())
            or self._by_host.get(host.lower())
            or authority.lower()
        )

    def resolve_kind(self, name: str, operation: str, declared_kind: CallKind) -> CallKind:
        """Return whether a call is a query or a command; `declared_kind` is what the call says."""
        port = self.get_port(name)
        if operation in port.commands:
            return CallKind.COMMAND
        if operation in port.queries:
            return CallKind.QUERY
        return declared_kind if port.kind is None else CallKind(port.kind)

    def allows_step(self, name: str, step: FallbackStep) -> bool:
        """Whether the port allows a fallback."""
        return step in self.get_port(name).missing

    def declared_stub(self, name: str) -> Any:
        """Return the declared answer, or `UNSET`."""
        return self.get_port(name).stub


def classify_http_method(method: str) -> CallKind:
    """Return the kind of an HTTP request; an unknown method counts as a command."""
    return CallKind.QUERY if method.upper() in _QUERY_METHODS else CallKind.COMMAND


_UNDECLARED_PORT = Port()


def parse_ports(tables: Any, origin: str) -> dict[str, Port]:
    """Return the ports of a file's `[ports.…]`; raises `ProjectionError`."""
    if not isinstance(tables, dict):
        raise ProjectionError(f"{origin}: [ports] must hold a table for each port, [ports.NAME].")
    found = {}
    for name, table in tables.items():
        try:
            found[name] = msgspec.convert(table, Port)
        except msgspec.ValidationError as error:
            message = str(error).partition(" - at ")
            where = message[2].strip("`").removeprefix("$").lstrip(".")
            location = f"ports.{name}" + (f", {where}" if where else "")
            raise ProjectionError(f"{origin}: invalid [{location}]: {message[0]}.") from error
    return found
