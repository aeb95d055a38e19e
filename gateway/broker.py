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
from gateway.calls import Answer, Call, Decision, Kind, Made, Outcome
from gateway.modes import Mode
from gateway.overrides import Overrides
from gateway.ports import UndeclaredError
from gateway.recording_store import Recorded
from gateway.redaction import Redactor
from gateway.request_differences import differences
from gateway.sent_commands import Choice, SentCommands, is_refused, is_unsettled
from gateway.settings import Settings
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    from gateway.live_clients import Outside

_ACKNOWLEDGED = 202
"""What a command over HTTP is answered with that was not sent: accepted, and nothing said."""
_POLL = 0.1

Ask = Callable[[Call, Sequence[Recorded]], Answer | None]
"""Asks a person what a call is to be answered, given the nearest recordings; None: it fails."""


class Broker:
    """The decisions of one fold, or of one run that records."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        projection: str,
        *,
        folder: Path | None = None,
        ask: Ask | None = None,
    ) -> None:
        """For the projection of a name; live programs run in the `folder`."""
        self.settings = settings
        self.code: str | None = None
        """The hash of the code that makes the calls, where they are recorded."""
        self.redactor = Redactor()
        self.kept: list[Recorded] = []
        """Calls that were made and are to be kept, redacted."""
        self.audited: list[tuple[Recorded, Answer, list[str]]] = []
        """Recordings that the outside answers otherwise now: the answer, and how it differs."""
        self.commanded: set[str] = set()
        """Ports on which commands were called in a run that goes out."""
        self.pending: list[Recorded] = []
        """Commands of an earlier run that were not sent again, because nobody saw how they ended."""
        self._commands = SentCommands(workspace.file)
        self._workspace = workspace
        self._projection = projection
        self._ask = ask
        self._ordinals: Counter[int] = Counter()
        self._overrides = Overrides(settings.overrides, settings.seed)
        self._folder = folder or Path.cwd()
        self._outside: Outside | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="outside")

    def close(self) -> None:
        """End everything that is open to the outside."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._outside is not None:
            self._outside.close()

    def decide(
        self,
        call: Call,
        recorded: Callable[[], Sequence[Recorded]],
        check: Callable[[], None] = lambda: None,
    ) -> Made:
        """What becomes of a call; `recorded` gives all calls that are known of its event.

        What it gives has no secrets in its call; its answer is what the handler gets. `check` is
        called while a live call is waited for, and may raise to end that.
        """
        kind = self.settings.ports.kind(call.port, call.operation, call.kind)
        call = replace(call, kind=kind)
        mode = self.settings.mode
        if mode is Mode.SEALED:
            return self._unanswered(call, Decision.BLOCKED, "everything is sealed", ())
        if mode in (Mode.RECORD, Mode.LIVE):
            return self._live(call, recorded, check)
        clean = self._clean(call)
        known = recorded()
        found = self._matching(clean, known)
        if mode is Mode.WHAT_IF:
            made = self._overridden(clean, found)
            if made is not None:
                return made
        if found is not None:
            if mode is Mode.AUDIT and kind is Kind.QUERY:
                self._audit(call, found, check)
            return _as_recorded(clean, found)
        return self._missing(call, clean, known, check)

    def _clean(self, call: Call) -> Call:
        """The call without its secrets, as recordings know it."""
        paths = self.settings.ports.get(call.port).redact
        return recording_store.redacted(Recorded(call, Answer()), self.redactor, paths).call

    def _matching(self, call: Call, recorded: Sequence[Recorded]) -> Recorded | None:
        same = [
            one
            for one in recorded
            if one.call.fingerprint == call.fingerprint
            and (one.call.key in (None, call.key) or one.projection != self._projection)
        ]
        own = [one for one in same if one.call.key == call.key] or same
        return own[call.occurrence] if call.occurrence < len(own) else None

    def _overridden(self, call: Call, found: Recorded | None) -> Made | None:
        override = self._overrides.of(call)
        if override is None:
            return None
        try:
            then = found.answer if found else None
            answer, said = overrides.apply(override, then, http=call.is_http)
        except overrides.PatchError as error:
            return self._unanswered(call, Decision.MISSED, str(error), ())
        if answer is None:
            return None
        return Made(call, Decision.STUBBED, said, answer)

    def _missing(
        self,
        call: Call,
        clean: Call,
        recorded: Sequence[Recorded],
        check: Callable[[], None],
    ) -> Made:
        """What answers a call that was not recorded, as far as its port was declared with it."""
        ports, port = self.settings.ports, call.port
        if call.kind is Kind.COMMAND:
            declared = ports.stub(port)
            if declared is not UNSET:
                reason = "not sent; answered as declared"
                return Made(clean, Decision.SUPPRESSED, reason, stub(call, declared))
        elif ports.declares(port, "latest"):
            found = recording_store.latest(self._workspace, clean)
            if found is not None:
                where = "unassigned" if found.offset is None else f"of offset {found.offset:,}"
                reason = f"the latest same request, {where}"
                return Made(clean, Decision.RECORDED, reason, found.answer, found.number)
        near = nearest(clean, recorded)
        if call.kind is Kind.QUERY:
            if ports.declares(port, "nearest") and near:
                how = ", ".join(different(clean, near[0])[:3])
                said = f"the nearest request of this event: {how}"
                return Made(clean, Decision.RECORDED, said, near[0].answer, near[0].number)
            declared = ports.stub(port)
            if ports.declares(port, "stub") and declared is not UNSET:
                return Made(clean, Decision.STUBBED, "answered as declared", stub(call, declared))
            if ports.declares(port, "ask") and self._ask is not None:
                answer = self._ask(clean, near)
                if answer is not None:
                    return Made(clean, Decision.STUBBED, "answered by hand", answer)
            if ports.declares(port, "record"):
                made = self._live(call, lambda: recorded, check)
                if made.answer is None:
                    return made
                # What reaches a state has no secrets, and is answered so ever after.
                reason = "went out today: an anachronism"
                return replace(made, reason=reason, answer=self.kept[-1].answer)
        again = f" so often (it was {call.occurrence:,} times)" if call.occurrence else ""
        return self._unanswered(clean, Decision.MISSED, f"was not recorded{again}", near)

    def _unanswered(
        self, call: Call, decision: Decision, reason: str, near: Sequence[Recorded]
    ) -> Made:
        call = self._clean(call)
        differences = [] if not near else different(call, near[0])
        number = near[0].number if near else None
        if near:
            reason += f"; the nearest of this event differs in {', '.join(differences[:3])}"
        return Made(call, decision, reason, None, number)

    def _live(
        self,
        call: Call,
        recorded: Callable[[], Sequence[Recorded]],
        check: Callable[[], None],
    ) -> Made:
        """Make a call, or suppress it where it changes something and nobody named its port."""
        # One that a replay lets out is kept too: it was asked for.
        keeps = self.settings.mode is not Mode.LIVE
        if call.kind is Kind.COMMAND:
            return self._command(call, recorded(), check, keeps=keeps)
        return self._sent(call, None, check, keeps=keeps)

    def _command(
        self,
        call: Call,
        recorded: Sequence[Recorded],
        check: Callable[[], None],
        *,
        keeps: bool,
    ) -> Made:
        """Send a command once, if its port was named for this run, and never again unasked."""
        self.commanded.add(call.port)
        clean = self._clean(call)
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
            made = Made(call, Decision.SUPPRESSED, reason, self._stubbed(call))
            return self._keep(made, "stub", keeps=keeps)
        if not keeps:
            return self._sent(call, None, check, keeps=keeps)
        intent = self._recorded(call, Answer(Outcome.PENDING), "live", None)
        resent = then.number if again and then is not None else None
        number = self._commands.intend(intent, partial(self._earlier, clean), resent)
        if isinstance(number, Recorded):  # another recording has sent it since
            self._ordinals[call.offset] -= 1
            return self._not_sent_again(clean, number)
        return self._sent(call, number, check, keeps=keeps)

    def _earlier(self, clean: Call, recorded: Sequence[Recorded]) -> Recorded | None:
        """What is known of a command from a run that may have sent it."""
        return self._matching(clean, [one for one in recorded if one.origin != "stub"])

    def _not_sent_again(self, clean: Call, then: Recorded) -> Made:
        if is_unsettled(then):
            self.pending.append(then)
        return _as_recorded(clean, then)

    def _stubbed(self, call: Call) -> Answer:
        """What a command is answered that isn't sent."""
        declared = self.settings.ports.stub(call.port)
        return stub(call, None if declared is UNSET else declared)

    def _sent(
        self, call: Call, number: int | None, check: Callable[[], None], *, keeps: bool
    ) -> Made:
        """Let a call out; `number` is that of a command's intent."""
        started = datetime.now(UTC)
        try:
            answer = self._waited_for(call, check)
        except UndeclaredError as error:
            if number is not None:
                self._commands.withdraw(number)
            return self._unanswered(call, Decision.MISSED, str(error), ())
        made = Made(call, Decision.LIVE, "sent" if number is not None else "asked", answer, number)
        return self._keep(made, "live", keeps=keeps, time=started)

    def _waited_for(self, call: Call, check: Callable[[], None]) -> Answer:
        waiting = self._threads.submit(self._ways_out().call, call)
        while True:
            with suppress(StillOutError):
                return waiting.result(_POLL)
            if not waiting.done():
                check()

    def _ways_out(self) -> "Outside":
        if self._outside is None:
            from gateway.live_clients import Outside  # noqa: PLC0415 - most folds never go out

            self._outside = Outside(self.settings.ports, self.settings.folder or self._folder)
        return self._outside

    def _keep(self, made: Made, origin: str, *, keeps: bool, time: datetime | None = None) -> Made:
        assert made.answer is not None  # noqa: S101 - what is kept was answered
        if made.number is not None:
            self._ordinals[made.call.offset] -= 1
        kept = self._recorded(made.call, made.answer, origin, time)
        if made.number is not None:
            self._commands.settle(made.number, kept)
        elif keeps:
            self.kept.append(kept)
        return replace(made, call=kept.call)

    def _recorded(self, call: Call, answer: Answer, origin: str, time: datetime | None) -> Recorded:
        ordinal = self._ordinals[call.offset]
        self._ordinals = Counter({call.offset: ordinal + 1})
        found = Recorded(
            call,
            answer,
            projection=self._projection,
            code=self.code,
            ordinal=ordinal,
            time=time or datetime.now(UTC),
            correlation_id=call.header("x-correlation-id", "x-request-id", "traceparent"),
            idempotency_key=call.header("idempotency-key", "x-idempotency-key"),
            origin=origin,
        )
        paths = self.settings.ports.get(call.port).redact
        return recording_store.redacted(found, self.redactor, paths)

    def _audit(self, call: Call, found: Recorded, check: Callable[[], None]) -> None:
        try:
            now = self._waited_for(call, check)
        except UndeclaredError as error:
            now = Answer.failed(str(error))
        clean = self._recorded(call, now, "live", None).answer
        differs = differences(_said(found.answer), _said(clean))
        if found.answer.outcome is not clean.outcome:
            differs.insert(0, f"{found.answer.outcome.value} then, {clean.outcome.value} now")
        if differs:
            self.audited.append((found, clean, differs))


def nearest(call: Call, recorded: Sequence[Recorded]) -> list[Recorded]:
    """Recordings of the same port, the one first whose request is most alike."""
    text = calls.canonical(call.request).decode()

    def likeness(one: Recorded) -> float:
        other = calls.canonical(one.call.request).decode()
        alike = difflib.SequenceMatcher(None, text[:2000], other[:2000]).ratio()
        return alike + (one.call.operation == call.operation)

    return sorted((o for o in recorded if o.call.port == call.port), key=likeness, reverse=True)


def different(call: Call, other: Recorded) -> list[str]:
    """How a recorded request differs from a call's, as `request.pair: EURUSD → EURGBP`."""
    found = []
    if other.call.operation != call.operation:
        found.append(f"operation: {other.call.operation} → {call.operation}")
    found += [f"request{how}" for how in differences(other.call.request, call.request)]
    if other.call.key not in (None, call.key):
        found.append(f"document: {other.call.key} → {call.key}")
    return found or [f"it was asked {call.occurrence + 1:,} times"]


def _said(answer: Answer) -> Any:
    """What an answer says; the headers of HTTP are others each time."""
    value = answer.value
    if answer.status is not None:
        return {name: said for name, said in value.items() if name != "headers"}
    return value


def _as_recorded(call: Call, found: Recorded) -> Made:
    answer = found.answer
    if answer.outcome is Outcome.PENDING:
        said = "it may have been sent, and nobody saw how it ended"
        return Made(call, Decision.PENDING, said, Answer.failed(said), found.number)
    if call.kind is Kind.COMMAND:
        return Made(call, Decision.SUPPRESSED, "not sent; answered as then", answer, found.number)
    return Made(call, Decision.RECORDED, "answered as then", answer, found.number)


def stub(call: Call, value: Any) -> Answer:
    """What is declared or said by hand, as an answer to such a call."""
    if not call.is_http:
        return Answer.of(value)
    if isinstance(value, dict) and "status" in value:
        headers = [(str(n), str(v)) for n, v in dict(value.get("headers") or {}).items()]
        media = next((v for n, v in headers if n.lower() == "content-type"), "application/json")
        return Answer(
            status=int(value["status"]),
            headers=headers or [("content-type", media)],
            body=calls.written(value.get("body"), media),
            media=media,
        )
    if value is None:
        return Answer(status=_ACKNOWLEDGED, media="text/plain")
    media = "application/json"
    return Answer(
        status=200, headers=[("content-type", media)], body=calls.written(value, media), media=media
    )
