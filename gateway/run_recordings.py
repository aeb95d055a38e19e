"""The recordings that one run makes, until its caller stores them."""

import threading
from collections import Counter
from datetime import UTC, datetime

from gateway import recording_store
from gateway.calls import Answer, Call
from gateway.ports import PortSet
from gateway.recording_store import Recording
from gateway.redaction import Redactor


class RunRecordings:
    """Makes redacted recordings, and numbers the calls of each event. Safe to use from several threads."""

    def __init__(self, ports: PortSet, projection: str) -> None:
        """Redact as `ports` declare; `projection` is the name of the projection that calls."""
        self.redactor = Redactor()
        self.code_hash: str | None = None
        """Hash of the code that makes the calls, kept with their recordings."""
        self._ports = ports
        self._projection = projection
        self._lock = threading.Lock()
        self._call_count_by_offset: Counter[int] = Counter()
        self._unsaved: list[Recording] = []

    def __len__(self) -> int:
        """Return the number of recordings that the caller must still store."""
        return len(self._unsaved)

    def add(self, recording: Recording) -> None:
        """Keep a recording until the caller takes it."""
        with self._lock:
            self._unsaved.append(recording)

    def take(self) -> list[Recording]:
        """Return the recordings that were added since the last time; the caller must store them."""
        with self._lock:
            taken, self._unsaved = self._unsaved, []
            return taken

    def make(
        self, call: Call, answer: Answer, origin: str, time: datetime | None = None
    ) -> Recording:
        """Return the redacted recording of a call, as the next one of its event."""
        with self._lock:
            ordinal = self._call_count_by_offset[call.offset]
            self._call_count_by_offset[call.offset] += 1
        return self.redact(
            Recording(
                call,
                answer,
                projection=self._projection,
                code=self.code_hash,
                ordinal=ordinal,
                time=time or datetime.now(UTC),
                correlation_id=call.find_header("x-correlation-id", "x-request-id", "traceparent"),
                idempotency_key=call.find_header("idempotency-key", "x-idempotency-key"),
                origin=origin,
            )
        )

    def take_back_ordinal(self, offset: int) -> None:
        """Use the ordinal of the event's last recording again, because that one isn't kept."""
        with self._lock:
            self._call_count_by_offset[offset] -= 1

    def redact(self, recording: Recording) -> Recording:
        """Return a recording without its secrets."""
        paths = self._ports.get_port(recording.call.port).redact
        return recording_store.redact_recording(recording, self.redactor, paths)
