"""Settings of the gateway for one projection; those that change results belong to its identity."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.modes import DEFAULT_MODE, Mode
from gateway.overrides import Override
from gateway.ports import PortSet
from gateway.sent_commands import Choices


@dataclass(frozen=True)
class GatewaySettings:
    """How calls of one projection are answered: declared in `refold.toml`, or given with a command."""

    mode: Mode = DEFAULT_MODE
    ports: PortSet = field(default_factory=PortSet)
    overrides: Sequence[Override] = ()
    """Overridden answers and injected faults of a what-if run."""
    seed: int = 0
    """Seed for the chances in overrides."""
    own_time: bool = True
    """Whether clocks and random numbers come from the event, not from this machine."""
    send: frozenset[str] = frozenset()
    """Ports to which commands may be sent while recording."""
    folder: Path | None = None
    """Folder of ports' programs: that of the file that declares them; None: where handlers run."""
    pending: Choices = field(default_factory=Choices)
    """Choices for commands with unknown outcome, while recording."""

    @property
    def digest(self) -> str:
        """The settings that change results, as mode and short hash; empty if all are defaults."""
        changed: dict[str, Any] = {}
        if self.mode is not DEFAULT_MODE:
            changed["mode"] = self.mode.value
        if not self.own_time:
            changed["own_time"] = False
        if self.overrides:
            changed |= {"overrides": msgspec.to_builtins(list(self.overrides)), "seed": self.seed}
        ports = {
            name: declared
            for name, port in sorted(self.ports.declared.items())
            if (
                declared := {
                    "kind": port.kind,
                    "queries": port.queries,
                    "commands": port.commands,
                    "hosts": port.hosts,
                    "redact": port.redact,
                    "missing": port.missing,
                    "stub": None if port.stub is UNSET else [port.stub],
                }
            )
            and any(declared.values())
        }
        if ports:
            changed["ports"] = ports
        text = json.dumps(changed, sort_keys=True)
        hashed = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{self.mode.value}:{hashed}" if changed else ""


DEFAULT_SETTINGS = GatewaySettings()
