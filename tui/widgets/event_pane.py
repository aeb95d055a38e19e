"""The pane with the event at the position: handler errors, output, data, calls, metadata."""

from typing import Any

from replay.document.diff import decode_or_text
from replay.document.paths import ABSENT
from replay.history.call_decisions import CallDecision
from replay.history.fold_reports import UpcastRecord
from replay.history.recorded_calls import SimilarRecording
from storage.log.event_log import EventDetail
from storage.log.positions import START
from tui.state.snapshot import Snapshot
from tui.text.sanitize import shorten
from tui.text.timestamps import format_full_time
from tui.widgets.value_lines import ValueLine, value_lines
from tui.widgets.value_view import ValueView

_LONGEST = 2_000
"""Characters of one line of a traceback."""
_SHOWN = 160
"""Characters of a request or a response."""
_STACK = 6
"""Stack lines of a blocked call."""


class EventPane(ValueView):
    """Shows one event."""

    _snapshot: Snapshot | None = None

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show the event of a snapshot."""
        self._snapshot = snapshot
        self.title = (snapshot.event.type or "event") if snapshot.event else "event"
        self.redraw()

    def redraw(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        event = snapshot.event
        if event is None:
            before = snapshot.position == START
            said = "start: no event yet" if before else "dropped on this timeline"
            self.show_lines([ValueLine(((said, "muted"),))])
            return
        lines: list[ValueLine] = []
        for call in snapshot.calls:
            if call.decision in _BLOCKED_DECISIONS:
                lines += _blocked_call_lines(call)
        for one in snapshot.nearest_recordings:
            lines += _nearest_recording_lines(one)
        for failure in snapshot.failures:
            lines.append(ValueLine(((f"✗ {shorten(failure.error, _LONGEST)}", "failed"),)))
            lines += [
                ValueLine(((f"  {shorten(text, _LONGEST)}", "muted"),))
                for text in failure.traceback.splitlines()[1:]
            ]
        if snapshot.printed:
            lines += [
                ValueLine(((f"▸ {shorten(text, _LONGEST)}", "muted"),))
                for text in snapshot.printed.rstrip("\n").split("\n")
            ]
        lines += value_lines(decode_or_text(event.data), (), self.expansion)
        if snapshot.calls or snapshot.reads:
            lines.append(_heading_line("outside calls"))
            lines += [_call_line(call) for call in snapshot.calls]
            if snapshot.reads:
                lines.append(ValueLine(((f"read {', '.join(snapshot.reads)}", "muted"),)))
        if snapshot.upcast is not None:
            lines += [_heading_line(f"upcast to {_upcast_text(snapshot.upcast)}")]
            lines += value_lines(decode_or_text(snapshot.upcast.data))
        meta = decode_or_text(event.meta)
        if meta is not ABSENT and meta != {}:
            lines += [_heading_line("meta"), *value_lines(meta)]
        lines += [_heading_line("event"), *value_lines(_event_fields(event))]
        self.show_lines(lines)

    @property
    def text(self) -> str:
        """The event's data as JSON, for copying."""
        event = self._snapshot.event if self._snapshot else None
        return (event.data or "") if event else ""


_BLOCKED_DECISIONS = ("missed", "blocked")


def _blocked_call_lines(call: CallDecision) -> list[ValueLine]:
    """Return the lines of a missed or blocked call: the reason, and the stack."""
    said = f"✗ {call.decision} {call.port} {call.operation}: {call.reason}"
    lines = [ValueLine(((shorten(said, _LONGEST), "failed"),))]
    stack = (call.stack or "").splitlines()[-_STACK:]
    return lines + [ValueLine(((f"  {shorten(text, _LONGEST)}", "muted"),)) for text in stack]


def _nearest_recording_lines(near: SimilarRecording) -> list[ValueLine]:
    """Return the lines of a recording similar to a missed call."""
    how = "; ".join(near.differences)
    said = f"  similar recording: {near.recording.call.operation}, {how}"
    return [ValueLine(((shorten(said, _LONGEST), "muted"),))]


def _call_line(call: CallDecision) -> ValueLine:
    style = "failed" if call.decision in _BLOCKED_DECISIONS else "muted"
    return ValueLine(
        (
            (f"{call.decision}  ", style),
            (f"{call.port} {shorten(call.operation, 60)} ", "key"),
            (f"{shorten(call.short_request, _SHOWN)} ", "muted"),
            (
                f"→ {shorten(call.short_response, _SHOWN)} "
                if call.short_response is not None
                else "",
                "",
            ),
            (f" {call.reason}", "muted"),
        )
    )


def _upcast_text(upcast: UpcastRecord) -> str:
    version = f" {upcast.version}" if upcast.version else ""
    return shorten(f"{upcast.type}{version} of {upcast.stream}", 200)


def _heading_line(text: str) -> ValueLine:
    return ValueLine(((f"─ {text}", "heading"),))


def _event_fields(event: EventDetail) -> dict[str, Any]:
    fields = {
        "offset": event.offset,
        "time": format_full_time(event.time) if event.time else None,
        "stream": event.stream,
        "revision": event.revision,
        "version": event.version,
        "id": event.id,
        "correlation": event.correlation_id,
        "causation": event.causation_id,
        "from": None if event.file is None else f"{event.file.rsplit('/', 1)[-1]}:{event.line}",
        "source offset": event.source_position,
    }
    return {name: value for name, value in fields.items() if value is not None}
