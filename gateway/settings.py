"""How a projection meets the outside in its folds; what of it changes results is part of who it is."""

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
    """What a person declared, or asked for."""

    mode: Mode = DEFAULT_MODE
    ports: PortSet = field(default_factory=PortSet)
    overrides: Sequence[Override] = ()
    """Answers and faults of a what-if run."""
    seed: int = 0
    """Of chances in the overrides."""
    own_time: bool = True
    """Whether clocks and random numbers are the event's own, and not this machine's."""
    send: frozenset[str] = frozenset()
    """Ports that commands may go out to, while recording."""
    folder: Path | None = None
    """Where programs of ports run: beside the file that declares them; None: where handlers run."""
    pending: Choices = field(default_factory=Choices)
    """What becomes of commands of which nobody saw the answer, while recording."""

    @property
    def digest(self) -> str:
        """What of it changes results, as the mode and a short hash; empty where all is by default."""
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
