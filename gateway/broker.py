"""The broker decides how each call is answered; no other module does.

A call matches a recording if event, document, port, operation and request are the same, and the request
was made equally often before at that event. A call without a match fails its handler, unless its port
declares a fallback. The reason of each decision is kept with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec import UNSET

from gateway import overrides, recording_store
from gateway.call_answers import answer_from_recording, comparable_value, make_stub_answer
from gateway.calls import Answer, AnswerOutcome, Call, CallKind, CallOutcome, Decision
from gateway.live_calls import LiveCalls
from gateway.modes import Mode
from gateway.overrides import OverrideSet
from gateway.ports import UndeclaredPortError
from gateway.recording_store import Recording
from gateway.request_differences import differences
from gateway.run_recordings import RunRecordings
from gateway.sent_commands import Choice, SentCommands, is_refused, is_unsettled
from gateway.settings import GatewaySettings
from gateway.similar_recordings import describe_differences, rank_by_likeness
from storage.workspace.workspace import Workspace

AskPerson = Callable[[Call, Sequence[Recording]], Answer | None]
"""Asks a person for the answer of a call, given the nearest recordings; None: the call fails."""


class Broker:
    """Decides the calls of one fold, or of one run that records."""

    def __init__(
        self,
        workspace: Workspace,
        settings: GatewaySettings,
        projection: str,
        *,
        folder: Path | None = None,
        ask: AskPerson | None = None,
    ) -> None:
        """Decide for the projection of this name; programs of live ports run in `folder`.

        `ask` asks a person for an answer where a port allows it.
        """
        self.settings = settings
        self.recordings = RunRecordings(settings.ports, projection)
        """Recordings of the calls made in this run."""
        self.audit_differences: list[tuple[Recording, Answer, list[str]]] = []
        """Recordings whose live answer differs today: recording, live answer, list of differences."""
        self.command_ports: set[str] = set()
        """Ports on which a run that makes live calls met a command."""
        self.pending: list[Recording] = []
        """Commands of an earlier run that were not sent again, because their outcome is unknown."""
        self._commands = SentCommands(workspace.main_workspace)
        self._workspace = workspace
        self._projection = projection
        self._ask_person = ask
        self._overrides = OverrideSet(settings.overrides, settings.seed)
        self._live_calls = LiveCalls(settings.ports, settings.folder or folder or Path.cwd())

    def close(self) -> None:
        """Close all connections and programs; one in use is closed when its call has ended."""
        self._live_calls.close()

    def decide(
        self,
        call: Call,
        read_recordings: Callable[[], Sequence[Recording]],
        raise_if_cancelled: Callable[[], None] = lambda: None,
    ) -> CallOutcome:
        """Return how a call is answered; `read_recordings` returns all recordings of its event.

        The returned call is redacted; its answer is what the handler gets. `raise_if_cancelled` is
        called repeatedly while a live call runs, and may raise to end the wait.
        """
        kind = self.settings.ports.resolve_kind(call.port, call.operation, call.kind)
        call = replace(call, kind=kind)
        mode = self.settings.mode
        if mode is Mode.SEALED:
            return self._leave_unanswered(
                call, Decision.BLOCKED, "is blocked, because the mode is `sealed`", ()
            )
        if mode in (Mode.RECORD, Mode.LIVE):
            return self._make_live_call(call, read_recordings, raise_if_cancelled)
        redacted_call = self._redact_call(call)
        recordings = read_recordings()
        recording = self._find_recording(redacted_call, recordings)
        if mode is Mode.WHAT_IF:
            outcome = self._apply_override(redacted_call, recording)
            if outcome is not None:
                return outcome
        if recording is not None:
            if mode is Mode.AUDIT and kind is CallKind.QUERY:
                self._audit_recording(call, recording, raise_if_cancelled)
            return answer_from_recording(redacted_call, recording)
        return self._answer_unrecorded(call, redacted_call, recordings, raise_if_cancelled)

    def _redact_call(self, call: Call) -> Call:
        """Return the call without its secrets, in the form that recordings have."""
        return self.recordings.redact(Recording(call, Answer())).call

    def _find_recording(self, call: Call, recordings: Sequence[Recording]) -> Recording | None:
        """Return the recording that matches a call; its own document's recordings take precedence."""
        matching = [
            recording
            for recording in recordings
            if recording.call.fingerprint == call.fingerprint
            and (recording.call.key in (None, call.key) or recording.projection != self._projection)
        ]
        own = [one for one in matching if one.call.key == call.key] or matching
        return own[call.occurrence] if call.occurrence < len(own) else None

    def _apply_override(self, call: Call, recording: Recording | None) -> CallOutcome | None:
        override = self._overrides.find_override(call)
        if override is None:
            return None
        try:
            recorded_answer = recording.answer if recording else None
            answer, reason = overrides.apply_override(
                override, recorded_answer, is_http=call.is_http
            )
        except overrides.PatchError as error:
            return self._leave_unanswered(call, Decision.MISSED, str(error), ())
        if answer is None:
            return None
        return CallOutcome(call, Decision.STUBBED, reason, answer)

    def _answer_unrecorded(
        self,
        call: Call,
        redacted_call: Call,
        recordings: Sequence[Recording],
        raise_if_cancelled: Callable[[], None],
    ) -> CallOutcome:
        """Answer a call that was not recorded by the fallbacks that its port declares."""
        ports, port = self.settings.ports, call.port
        if call.kind is CallKind.COMMAND:
            declared = ports.declared_stub(port)
            if declared is not UNSET:
                reason = "not sent; answered as declared"
                return CallOutcome(
                    redacted_call, Decision.SUPPRESSED, reason, make_stub_answer(call, declared)
                )
        elif ports.allows_step(port, "latest"):
            latest = recording_store.find_latest(self._workspace, redacted_call)
            if latest is not None:
                offset_text = (
                    "unassigned" if latest.offset is None else f"of offset {latest.offset:,}"
                )
                reason = f"answered by the latest same request, {offset_text}"
                return CallOutcome(
                    redacted_call, Decision.RECORDED, reason, latest.answer, latest.recording_number
                )
        nearest_recordings = rank_by_likeness(redacted_call, recordings)
        if call.kind is CallKind.QUERY:
            if ports.allows_step(port, "nearest") and nearest_recordings:
                how = ", ".join(describe_differences(redacted_call, nearest_recordings[0])[:3])
                reason = f"answered by the nearest request of this event: {how}"
                return CallOutcome(
                    redacted_call,
                    Decision.RECORDED,
                    reason,
                    nearest_recordings[0].answer,
                    nearest_recordings[0].recording_number,
                )
            declared = ports.declared_stub(port)
            if ports.allows_step(port, "stub") and declared is not UNSET:
                return CallOutcome(
                    redacted_call,
                    Decision.STUBBED,
                    "answered as declared",
                    make_stub_answer(call, declared),
                )
            if ports.allows_step(port, "ask") and self._ask_person is not None:
                answer = self._ask_person(redacted_call, nearest_recordings)
                if answer is not None:
                    return CallOutcome(redacted_call, Decision.STUBBED, "answered by hand", answer)
            if ports.allows_step(port, "record"):
                outcome = self._make_live_call(call, lambda: recordings, raise_if_cancelled)
                if outcome.answer is None:
                    return outcome
                # Give the handler the redacted answer, which later replays give it too.
                reason = "made live today: an anachronism"
                redacted = self.recordings.redact(Recording(call, outcome.answer))
                return replace(outcome, reason=reason, answer=redacted.answer)
        reason = "was not recorded"
        if call.occurrence:
            reason = f"was recorded fewer than {call.occurrence + 1:,} times at this event"
        return self._leave_unanswered(redacted_call, Decision.MISSED, reason, nearest_recordings)

    def _leave_unanswered(
        self, call: Call, decision: Decision, reason: str, nearest_recordings: Sequence[Recording]
    ) -> CallOutcome:
        call = self._redact_call(call)
        differences = (
            [] if not nearest_recordings else describe_differences(call, nearest_recordings[0])
        )
        number = nearest_recordings[0].recording_number if nearest_recordings else None
        if nearest_recordings:
            reason += (
                f"; the nearest recording of this event differs in {', '.join(differences[:3])}"
            )
        return CallOutcome(call, decision, reason, None, number)

    def _make_live_call(
        self,
        call: Call,
        read_recordings: Callable[[], Sequence[Recording]],
        raise_if_cancelled: Callable[[], None],
    ) -> CallOutcome:
        """Make a call; a command goes out only if its port was named for this run."""
        # A call that the fallback `record` sends during a replay is kept too.
        is_kept = self.settings.mode is not Mode.LIVE
        if call.kind is CallKind.COMMAND:
            return self._send_command(call, read_recordings(), raise_if_cancelled, is_kept=is_kept)
        return self._send_call(call, None, raise_if_cancelled, is_kept=is_kept)

    def _send_command(
        self,
        call: Call,
        recordings: Sequence[Recording],
        raise_if_cancelled: Callable[[], None],
        *,
        is_kept: bool,
    ) -> CallOutcome:
        """Send a command once if its port was named for this run; again only if a person says so."""
        self.command_ports.add(call.port)
        redacted_call = self._redact_call(call)
        may_send = call.port in self.settings.send
        earlier = self._find_earlier(redacted_call, recordings)
        choice = self.settings.pending.of(earlier) if earlier and is_unsettled(earlier) else None
        if earlier is not None and choice is Choice.DONE:
            earlier = self._commands.mark_done(earlier, self._stub_answer(call))
        resends = choice is Choice.RESEND
        if earlier is not None and not (may_send and (resends or is_refused(earlier))):
            return self._answer_from_earlier(redacted_call, earlier)
        if not may_send:
            reason = f"not sent; --send {call.port} sends it"
            outcome = CallOutcome(call, Decision.SUPPRESSED, reason, self._stub_answer(call))
            return self._record_outcome(outcome, "stub", is_kept=is_kept)
        if not is_kept:
            return self._send_call(call, None, raise_if_cancelled, is_kept=is_kept)
        intent = self.recordings.make(call, Answer(AnswerOutcome.PENDING), "live", None)
        resent = earlier.recording_number if resends and earlier is not None else None
        number = self._commands.intend(intent, partial(self._find_earlier, redacted_call), resent)
        if isinstance(number, Recording):  # another run has sent it in the meantime
            self.recordings.take_back_ordinal(call.offset)
            return self._answer_from_earlier(redacted_call, number)
        return self._send_call(call, number, raise_if_cancelled, is_kept=is_kept)

    def _find_earlier(
        self, redacted_call: Call, recordings: Sequence[Recording]
    ) -> Recording | None:
        """Return the recording of the same command from a run that may have sent it."""
        return self._find_recording(redacted_call, [r for r in recordings if r.origin != "stub"])

    def _answer_from_earlier(self, redacted_call: Call, earlier: Recording) -> CallOutcome:
        if is_unsettled(earlier):
            self.pending.append(earlier)
        return answer_from_recording(redacted_call, earlier)

    def _stub_answer(self, call: Call) -> Answer:
        """Return the answer of a command that isn't sent: the declared one, or an empty one."""
        declared = self.settings.ports.declared_stub(call.port)
        return make_stub_answer(call, None if declared is UNSET else declared)

    def _send_call(
        self,
        call: Call,
        number: int | None,
        raise_if_cancelled: Callable[[], None],
        *,
        is_kept: bool,
    ) -> CallOutcome:
        """Make a live call; `number` is the number of its intent if it is a command that is kept."""
        started = datetime.now(UTC)
        try:
            answer = self._live_calls.wait_for_answer(call, raise_if_cancelled)
        except UndeclaredPortError as error:
            if number is not None:
                self._commands.withdraw(number)
            return self._leave_unanswered(call, Decision.MISSED, str(error), ())
        outcome = CallOutcome(
            call, Decision.LIVE, "sent" if number is not None else "asked", answer, number
        )
        return self._record_outcome(outcome, "live", is_kept=is_kept, time=started)

    def _record_outcome(
        self, outcome: CallOutcome, origin: str, *, is_kept: bool, time: datetime | None = None
    ) -> CallOutcome:
        assert outcome.answer is not None  # noqa: S101 - what is kept was answered
        if outcome.recording_number is not None:
            self.recordings.take_back_ordinal(outcome.call.offset)
        recording = self.recordings.make(outcome.call, outcome.answer, origin, time)
        if outcome.recording_number is not None:
            self._commands.settle(outcome.recording_number, recording)
        elif is_kept:
            self.recordings.add(recording)
        return replace(outcome, call=recording.call)

    def _audit_recording(
        self, call: Call, recording: Recording, raise_if_cancelled: Callable[[], None]
    ) -> None:
        try:
            live_answer = self._live_calls.wait_for_answer(call, raise_if_cancelled)
        except UndeclaredPortError as error:
            live_answer = Answer.from_error(str(error))
        redacted_answer = self.recordings.make(call, live_answer, "live", None).answer
        found_differences = differences(
            comparable_value(recording.answer), comparable_value(redacted_answer)
        )
        if recording.answer.outcome is not redacted_answer.outcome:
            found_differences.insert(
                0, f"{recording.answer.outcome.value} then, {redacted_answer.outcome.value} now"
            )
        if found_differences:
            self.audit_differences.append((recording, redacted_answer, found_differences))
