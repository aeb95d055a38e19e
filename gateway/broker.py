"""Decides what becomes of each call: this module alone does.

A call is the same as a recorded one if its event, its document, its port, operation and request are,
and it is asked for the same time there. What matches nothing fails its handler, unless its port was
declared with something else; each such step is said with the decision.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillOutError
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from gateway import calls, overrides, recording_store
from gateway.calls import Answer, AnswerOutcome, Call, CallKind, CallOutcome, Decision
from gateway.modes import Mode
from gateway.overrides import OverrideSet
from gateway.ports import UndeclaredPortError
from gateway.recording_store import Recording
from gateway.redaction import Redactor
from gateway.request_differences import differences
from gateway.sent_commands import Choice, SentCommands, is_refused, is_unsettled
from gateway.settings import GatewaySettings
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    from gateway.live_clients import LiveClients

_ACCEPTED_STATUS = 202
"""What a command over HTTP is answered with that was not sent: accepted, and nothing said."""
_POLL_SECONDS = 0.1

AskPerson = Callable[[Call, Sequence[Recording]], Answer | None]
"""Asks a person what a call is to be answered, given the nearest recordings; None: it fails."""


class Broker:
    """The decisions of one fold, or of one run that records."""

    def __init__(
        self,
        workspace: Workspace,
        settings: GatewaySettings,
        projection: str,
        *,
        folder: Path | None = None,
        ask: AskPerson | None = None,
    ) -> None:
        """For the projection of a name; live programs run in the `folder`."""
        self.settings = settings
        self.code_hash: str | None = None
        """The hash of the code that makes the calls, where they are recorded."""
        self.redactor = Redactor()
        self.new_recordings: list[Recording] = []
        """Calls that were made and are to be kept, redacted."""
        self.audit_differences: list[tuple[Recording, Answer, list[str]]] = []
        """Recordings that the outside answers otherwise now: the answer, and how it differs."""
        self.command_ports: set[str] = set()
        """Ports on which commands were called in a run that goes out."""
        self.pending: list[Recording] = []
        """Commands of an earlier run that were not sent again, because nobody saw how they ended."""
        self._commands = SentCommands(workspace.main_workspace)
        self._workspace = workspace
        self._projection = projection
        self._ask_person = ask
        self._ordinal_by_offset: Counter[int] = Counter()
        self._overrides = OverrideSet(settings.overrides, settings.seed)
        self._folder = folder or Path.cwd()
        self._live_clients: LiveClients | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outside")

    def close(self) -> None:
        """End everything that is open to the outside."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._live_clients is not None:
            self._live_clients.close()

    def decide(
        self,
        call: Call,
        read_recordings: Callable[[], Sequence[Recording]],
        raise_if_cancelled: Callable[[], None] = lambda: None,
    ) -> CallOutcome:
        """What becomes of a call; `recorded` gives all calls that are known of its event.

        What it gives has no secrets in its call; its answer is what the handler gets. `check` is
        called while a live call is waited for, and may raise to end that.
        """
        kind = self.settings.ports.resolve_kind(call.port, call.operation, call.kind)
        call = replace(call, kind=kind)
        mode = self.settings.mode
        if mode is Mode.SEALED:
            return self._leave_unanswered(call, Decision.BLOCKED, "everything is sealed", ())
        if mode in (Mode.RECORD, Mode.LIVE):
            return self._make_live_call(call, read_recordings, raise_if_cancelled)
        redacted_call = self._redact_call(call)
        recordings = read_recordings()
        found = self._find_recording(redacted_call, recordings)
        if mode is Mode.WHAT_IF:
            outcome = self._apply_override(redacted_call, found)
            if outcome is not None:
                return outcome
        if found is not None:
            if mode is Mode.AUDIT and kind is CallKind.QUERY:
                self._audit_recording(call, found, raise_if_cancelled)
            return _answer_from_recording(redacted_call, found)
        return self._answer_unrecorded(call, redacted_call, recordings, raise_if_cancelled)

    def _redact_call(self, call: Call) -> Call:
        """The call without its secrets, as recordings know it."""
        paths = self.settings.ports.get_port(call.port).redact
        return recording_store.redact_recording(
            Recording(call, Answer()), self.redactor, paths
        ).call

    def _find_recording(self, call: Call, recordings: Sequence[Recording]) -> Recording | None:
        same = [
            one
            for one in recordings
            if one.call.fingerprint == call.fingerprint
            and (one.call.key in (None, call.key) or one.projection != self._projection)
        ]
        own = [one for one in same if one.call.key == call.key] or same
        return own[call.occurrence] if call.occurrence < len(own) else None

    def _apply_override(self, call: Call, recording: Recording | None) -> CallOutcome | None:
        override = self._overrides.find_override(call)
        if override is None:
            return None
        try:
            recorded_answer = recording.answer if recording else None
            answer, said = overrides.apply_override(override, recorded_answer, is_http=call.is_http)
        except overrides.PatchError as error:
            return self._leave_unanswered(call, Decision.MISSED, str(error), ())
        if answer is None:
            return None
        return CallOutcome(call, Decision.STUBBED, said, answer)

    def _answer_unrecorded(
        self,
        call: Call,
        redacted_call: Call,
        recordings: Sequence[Recording],
        raise_if_cancelled: Callable[[], None],
    ) -> CallOutcome:
        """What answers a call that was not recorded, as far as its port was declared with it."""
        ports, port = self.settings.ports, call.port
        if call.kind is CallKind.COMMAND:
            declared = ports.declared_stub(port)
            if declared is not UNSET:
                reason = "not sent; answered as declared"
                return CallOutcome(
                    redacted_call, Decision.SUPPRESSED, reason, make_stub_answer(call, declared)
                )
        elif ports.allows_step(port, "latest"):
            found = recording_store.find_latest(self._workspace, redacted_call)
            if found is not None:
                offset_text = (
                    "unassigned" if found.offset is None else f"of offset {found.offset:,}"
                )
                reason = f"the latest same request, {offset_text}"
                return CallOutcome(
                    redacted_call, Decision.RECORDED, reason, found.answer, found.recording_number
                )
        nearest_recordings = rank_by_likeness(redacted_call, recordings)
        if call.kind is CallKind.QUERY:
            if ports.allows_step(port, "nearest") and nearest_recordings:
                how = ", ".join(describe_differences(redacted_call, nearest_recordings[0])[:3])
                said = f"the nearest request of this event: {how}"
                return CallOutcome(
                    redacted_call,
                    Decision.RECORDED,
                    said,
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
                # What reaches a state has no secrets, and is answered so ever after.
                reason = "went out today: an anachronism"
                return replace(outcome, reason=reason, answer=self.new_recordings[-1].answer)
        count_text = f" so often (it was {call.occurrence:,} times)" if call.occurrence else ""
        return self._leave_unanswered(
            redacted_call, Decision.MISSED, f"was not recorded{count_text}", nearest_recordings
        )

    def _leave_unanswered(
        self, call: Call, decision: Decision, reason: str, nearest_recordings: Sequence[Recording]
    ) -> CallOutcome:
        call = self._redact_call(call)
        differences = (
            [] if not nearest_recordings else describe_differences(call, nearest_recordings[0])
        )
        number = nearest_recordings[0].recording_number if nearest_recordings else None
        if nearest_recordings:
            reason += f"; the nearest of this event differs in {', '.join(differences[:3])}"
        return CallOutcome(call, decision, reason, None, number)

    def _make_live_call(
        self,
        call: Call,
        read_recordings: Callable[[], Sequence[Recording]],
        raise_if_cancelled: Callable[[], None],
    ) -> CallOutcome:
        """Make a call, or suppress it where it changes something and nobody named its port."""
        # One that a replay lets out is kept too: it was asked for.
        is_kept = self.settings.mode is not Mode.LIVE
        if call.kind is CallKind.COMMAND:
            return self._command(call, read_recordings(), raise_if_cancelled, keeps=is_kept)
        return self._sent(call, None, raise_if_cancelled, keeps=is_kept)

    def _command(
        self,
        call: Call,
        recorded: Sequence[Recording],
        check: Callable[[], None],
        *,
        keeps: bool,
    ) -> CallOutcome:
        """Send a command once, if its port was named for this run, and never again unasked."""
        self.command_ports.add(call.port)
        clean = self._redact_call(call)
        sends = call.port in self.settings.send
        then = self._earlier(clean, recorded)
        choice = self.settings.pending.of(then) if then and is_unsettled(then) else None
        if then is not None and choice is Choice.DONE:
            then = self._commands.mark_done(then, self._stubbed(call))
        again = choice is Choice.RESEND
        if then is not None and not (sends and (again or is_refused(then))):
            return self._not_sent_again(clean, then)
        if not sends:
            reason = f"not sent; --send {call.port} would"
            made = CallOutcome(call, Decision.SUPPRESSED, reason, self._stubbed(call))
            return self._record_outcome(made, "stub", is_kept=keeps)
        if not keeps:
            return self._sent(call, None, check, keeps=keeps)
        intent = self._make_recording(call, Answer(AnswerOutcome.PENDING), "live", None)
        resent = then.recording_number if again and then is not None else None
        number = self._commands.intend(intent, partial(self._earlier, clean), resent)
        if isinstance(number, Recording):  # another recording has sent it since
            self._ordinal_by_offset[call.offset] -= 1
            return self._not_sent_again(clean, number)
        return self._sent(call, number, check, keeps=keeps)

    def _earlier(self, clean: Call, recorded: Sequence[Recording]) -> Recording | None:
        """What is known of a command from a run that may have sent it."""
        return self._find_recording(clean, [one for one in recorded if one.origin != "stub"])

    def _not_sent_again(self, clean: Call, then: Recording) -> CallOutcome:
        if is_unsettled(then):
            self.pending.append(then)
        return _answer_from_recording(clean, then)

    def _stubbed(self, call: Call) -> Answer:
        """What a command is answered that isn't sent."""
        declared = self.settings.ports.declared_stub(call.port)
        return make_stub_answer(call, None if declared is UNSET else declared)

    def _sent(
        self, call: Call, number: int | None, check: Callable[[], None], *, keeps: bool
    ) -> CallOutcome:
        """Let a call out; `number` is that of a command's intent."""
        started = datetime.now(UTC)
        try:
            answer = self._wait_for_answer(call, check)
        except UndeclaredPortError as error:
            if number is not None:
                self._commands.withdraw(number)
            return self._leave_unanswered(call, Decision.MISSED, str(error), ())
        made = CallOutcome(
            call, Decision.LIVE, "sent" if number is not None else "asked", answer, number
        )
        return self._record_outcome(made, "live", is_kept=keeps, time=started)

    def _wait_for_answer(self, call: Call, raise_if_cancelled: Callable[[], None]) -> Answer:
        future = self._executor.submit(self._open_live_clients().call, call)
        while True:
            with suppress(StillOutError):
                return future.result(_POLL_SECONDS)
            if not future.done():
                raise_if_cancelled()

    def _open_live_clients(self) -> "LiveClients":
        if self._live_clients is None:
            from gateway.live_clients import LiveClients  # noqa: PLC0415 - most folds never go out

            self._live_clients = LiveClients(
                self.settings.ports, self.settings.folder or self._folder
            )
        return self._live_clients

    def _record_outcome(
        self, outcome: CallOutcome, origin: str, *, is_kept: bool, time: datetime | None = None
    ) -> CallOutcome:
        assert outcome.answer is not None  # noqa: S101 - what is kept was answered
        if outcome.recording_number is not None:
            self._ordinal_by_offset[outcome.call.offset] -= 1
        recording = self._make_recording(outcome.call, outcome.answer, origin, time)
        if outcome.recording_number is not None:
            self._commands.settle(outcome.recording_number, recording)
        elif is_kept:
            self.new_recordings.append(recording)
        return replace(outcome, call=recording.call)

    def _make_recording(
        self, call: Call, answer: Answer, origin: str, time: datetime | None
    ) -> Recording:
        ordinal = self._ordinal_by_offset[call.offset]
        self._ordinal_by_offset = Counter({call.offset: ordinal + 1})
        recording = Recording(
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
        paths = self.settings.ports.get_port(call.port).redact
        return recording_store.redact_recording(recording, self.redactor, paths)

    def _audit_recording(
        self, call: Call, recording: Recording, raise_if_cancelled: Callable[[], None]
    ) -> None:
        try:
            live_answer = self._wait_for_answer(call, raise_if_cancelled)
        except UndeclaredPortError as error:
            live_answer = Answer.from_error(str(error))
        redacted_answer = self._make_recording(call, live_answer, "live", None).answer
        found_differences = differences(
            _comparable_value(recording.answer), _comparable_value(redacted_answer)
        )
        if recording.answer.outcome is not redacted_answer.outcome:
            found_differences.insert(
                0, f"{recording.answer.outcome.value} then, {redacted_answer.outcome.value} now"
            )
        if found_differences:
            self.audit_differences.append((recording, redacted_answer, found_differences))


def rank_by_likeness(call: Call, recordings: Sequence[Recording]) -> list[Recording]:
    """Recordings of the same port, the one first whose request is most alike."""
    text = calls.encode_canonical(call.request).decode()

    def likeness(one: Recording) -> float:
        other = calls.encode_canonical(one.call.request).decode()
        alike = difflib.SequenceMatcher(None, text[:2000], other[:2000]).ratio()
        return alike + (one.call.operation == call.operation)

    return sorted((o for o in recordings if o.call.port == call.port), key=likeness, reverse=True)


def describe_differences(call: Call, recording: Recording) -> list[str]:
    """How a recorded request differs from a call's, as `request.pair: EURUSD → EURGBP`."""
    found = []
    if recording.call.operation != call.operation:
        found.append(f"operation: {recording.call.operation} → {call.operation}")
    found += [f"request{how}" for how in differences(recording.call.request, call.request)]
    if recording.call.key not in (None, call.key):
        found.append(f"document: {recording.call.key} → {call.key}")
    return found or [f"it was asked {call.occurrence + 1:,} times"]


def _comparable_value(answer: Answer) -> Any:
    """What an answer says; the headers of HTTP are others each time."""
    value = answer.value
    if answer.status is not None:
        return {name: said for name, said in value.items() if name != "headers"}
    return value


def _answer_from_recording(call: Call, recording: Recording) -> CallOutcome:
    answer = recording.answer
    if answer.outcome is AnswerOutcome.PENDING:
        reason = "it may have been sent, and nobody saw how it ended"
        return CallOutcome(
            call, Decision.PENDING, reason, Answer.from_error(reason), recording.recording_number
        )
    if call.kind is CallKind.COMMAND:
        return CallOutcome(
            call,
            Decision.SUPPRESSED,
            "not sent; answered as then",
            answer,
            recording.recording_number,
        )
    return CallOutcome(
        call, Decision.RECORDED, "answered as then", answer, recording.recording_number
    )


def make_stub_answer(call: Call, value: Any) -> Answer:
    """What is declared or said by hand, as an answer to such a call."""
    if not call.is_http:
        return Answer.from_value(value)
    if isinstance(value, dict) and "status" in value:
        headers = [(str(n), str(v)) for n, v in dict(value.get("headers") or {}).items()]
        media_type = next(
            (v for n, v in headers if n.lower() == "content-type"), "application/json"
        )
        return Answer(
            status=int(value["status"]),
            headers=headers or [("content-type", media_type)],
            body=calls.encode_body(value.get("body"), media_type),
            media_type=media_type,
        )
    if value is None:
        return Answer(status=_ACCEPTED_STATUS, media_type="text/plain")
    media_type = "application/json"
    return Answer(
        status=200,
        headers=[("content-type", media_type)],
        body=calls.encode_body(value, media_type),
        media_type=media_type,
    )
