"""The environment of the user's code in a worker: the audit hook, the gateway and the event's time.

The order matters: clocks and HTTP clients are patched before the user's code is imported; the audit
hook is installed after the worker has imported its own modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from . import clients
from .audit_hook import AuditHook
from .calls import CallColumns, CallDispatcher
from .deterministic_time import DeterministicTime
from .gateway import Gateway
from .shifted_world import ShiftedWorld

if TYPE_CHECKING:
    from ..protocol.channel import ParentChannel


class WorkerEnvironment:
    """The environment of one worker."""

    def __init__(self, current_event: Any, channel: "ParentChannel", spec: Dict[str, Any]) -> None:
        """`spec` has `name`, `own_time`, and `world`: settings of a shifted world, or None."""
        self.calls = CallDispatcher(current_event, channel)
        self._deterministic_time = DeterministicTime(self.calls, spec["name"])
        self.gateway = Gateway(self.calls, self._deterministic_time)
        self._world_settings: Optional[Dict[str, int]] = spec["world"]
        self._shifted_world = ShiftedWorld(current_event)
        self._uses_event_time = bool(spec["own_time"])
        self._audit_hook = AuditHook(self.calls.record_blocked, lambda: current_event[0] >= 0)

    def install(self) -> None:
        """Patch clocks, threads and HTTP clients; call this before importing the user's code."""
        if self._world_settings is not None:
            self._shifted_world.install(**self._world_settings)
        elif self._uses_event_time:
            self._deterministic_time.install()
        self.calls.follow_threads()
        clients.intercept_clients(self.calls)

    def lock_down(self) -> None:
        """Install the audit hook, which can't be removed."""
        self._audit_hook.install()

    def take_reports(self) -> Tuple[CallColumns, List[Dict[str, Any]]]:
        """Return calls and reads of clocks and random numbers since the last time."""
        return (
            self.calls.take_columns(),
            self._shifted_world.take_reads()
            if self._world_settings
            else self._deterministic_time.take_reads(),
        )
