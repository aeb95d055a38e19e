"""Ports: the names of what is outside, and what is declared of each in `refold.toml`.

    [ports.rates]
    live = "https://rates.example"      # how to ask it while recording
    missing = ["latest", "stub"]        # what answers a query that was not recorded
    stub = {rate = "1.00"}
    redact = ["customer.iban"]

A port that nobody declared is answered from recordings all the same; it can't be recorded.
"""

from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from gateway.calls import CallKind
from storage.errors import ProjectionError

FallbackStep = Literal["latest", "nearest", "stub", "ask", "record"]
FALLBACK_STEPS: tuple[FallbackStep, ...] = ("latest", "nearest", "stub", "ask", "record")
"""What may answer a query that was not recorded, in the order in which it is tried."""
_QUERY_METHODS = ("GET", "HEAD", "OPTIONS")


class Port(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is declared of one port."""

    kind: Literal["query", "command"] | None = None
    """What its calls do; that of the call if left out. HTTP: GET, HEAD and OPTIONS ask."""
    queries: list[str] = []
    commands: list[str] = []
    """Operations that ask, or change something, whatever the kind says."""
    live: str | None = None
    """Where it is: `https://…`, `postgresql://…`, `smtp://…`, or `cmd:` and a program."""
    operations: dict[str, str] = {}
    """How to call each live: `GET /v1/rate` with HTTP, a statement with PostgreSQL."""
    headers: dict[str, str] = {}
    """Of HTTP, sent while recording; `$NAME` stands for a variable of the environment."""
    hosts: list[str] = []
    """Hosts whose HTTP calls are this port's, where handlers call them by themselves."""
    redact: list[str] = []
    """Paths in requests and answers that are secrets too, such as `customer.iban`."""
    missing: list[FallbackStep] = []
    stub: Any = UNSET
    """The answer of calls that were not recorded, for `stub`, and of commands."""
    timeout: float = 30.0
    """Seconds."""
    most: int = 64 << 20
    """Bytes of an answer, beyond which it is an error."""


class UndeclaredPortError(Exception):
    """Nobody said how a port is called live; the message says what to do."""


class PortSet:
    """All that are declared."""

    def __init__(self, declared: dict[str, Port] | None = None) -> None:
        self._declared = declared or {}
        self._by_host: dict[str, str] = {}
        for name, port in self._declared.items():
            if port.live and port.live.startswith(("http://", "https://")):
                authority = urlsplit(port.live).netloc.rpartition("@")[2].lower()
                self._by_host.setdefault(authority, name)
        for name, port in self._declared.items():  # what is said of hosts counts more
            self._by_host |= dict.fromkeys((host.lower() for host in port.hosts), name)

    @property
    def declared(self) -> dict[str, Port]:
        return self._declared

    def get_port(self, name: str) -> Port:
        """What is declared of a port; nothing, where it isn't."""
        return self._declared.get(name, _UNDECLARED_PORT)

    def find_port_of_url(self, url: str) -> str:
        """The port that HTTP calls to an address belong to: a declared one, or its host."""
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
        """Whether a call asks or changes something, where `said` is what it says of itself."""
        port = self.get_port(name)
        if operation in port.commands:
            return CallKind.COMMAND
        if operation in port.queries:
            return CallKind.QUERY
        return declared_kind if port.kind is None else CallKind(port.kind)

    def allows_step(self, name: str, step: FallbackStep) -> bool:
        """Whether a step was opted for."""
        return step in self.get_port(name).missing

    def declared_stub(self, name: str) -> Any:
        """The declared answer, or `UNSET`."""
        return self.get_port(name).stub


def classify_http_method(method: str) -> CallKind:
    """What an HTTP request does; one that nobody knows changes something."""
    return CallKind.QUERY if method.upper() in _QUERY_METHODS else CallKind.COMMAND


_UNDECLARED_PORT = Port()


def parse_ports(tables: Any, origin: str) -> dict[str, Port]:
    """The ports of a file's `[ports.…]`; raises `ProjectionError`."""
    if not isinstance(tables, dict):
        raise ProjectionError(f"{origin}: [ports] can't be understood: it has no port in it.")
    found = {}
    for name, table in tables.items():
        try:
            found[name] = msgspec.convert(table, Port)
        except msgspec.ValidationError as error:
            message = str(error).partition(" - at ")
            where = message[2].strip("`").removeprefix("$").lstrip(".")
            location = f"ports.{name}" + (f", {where}" if where else "")
            raise ProjectionError(
                f"{origin}: [{location}] can't be understood: {message[0]}."
            ) from error
    return found
