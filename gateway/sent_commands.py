"""Commands that were sent, or may have been: each is stored first, and sent again only on request.

A command's intent is written, as `pending`, in the transaction that looks for an earlier command of the
same call. So a recording run that is killed before the answer arrives, or a second run beside it, leaves
a row that the next run finds. A person decides about pending commands: only then are they sent again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from gateway import recording_store
from gateway.calls import Answer, AnswerOutcome
from gateway.recording_store import Recording
from storage.errors import QueryError, StaleError
from storage.workspace.workspace import Workspace

_UNSETTLED = (AnswerOutcome.PENDING, AnswerOutcome.TIMEOUT)
"""Outcomes after which it is unknown whether the other side has acted."""


def is_unsettled(recording: Recording) -> bool:
    """Whether a command may have been sent with unknown outcome."""
    return recording.answer.outcome in _UNSETTLED


def is_refused(recording: Recording) -> bool:
    """Whether a command ended with an error, so it may be sent again."""
    return recording.answer.outcome is not AnswerOutcome.OK and not is_unsettled(recording)


class Choice(Enum):
    """What to do with a pending command."""

    RESEND = "resend"
    DONE = "done"
    """Count it as answered, with the answer that its port declares."""
    SKIP = "skip"
    """Leave it pending, and don't send it."""


@dataclass(frozen=True)
class Choices:
    """A person's choices for pending commands, by recording number; None stands for all numbers."""

    resend: frozenset[int | None] = frozenset()
    done: frozenset[int | None] = frozenset()
    ask: Callable[[Recording], Choice] | None = None
    """Asks a person about a command without a choice; None: nobody can be asked, so skip it."""

    def of(self, pending: Recording) -> Choice:
        """Return the choice for a pending command; a choice by number precedes one for all."""
        for choice, numbers in ((Choice.RESEND, self.resend), (Choice.DONE, self.done)):
            if pending.recording_number in numbers:
                return choice
        for choice, numbers in ((Choice.RESEND, self.resend), (Choice.DONE, self.done)):
            if None in numbers:
                return choice
        return Choice.SKIP if self.ask is None else self.ask(pending)

    def refuse_unknown(self, workspace: Workspace) -> None:
        """Raise `QueryError` if a chosen number isn't that of a pending command."""
        numbers = {number for number in self.resend | self.done if number is not None}
        known = {one.recording_number for one in all_unsettled(workspace)}
        unknown = sorted(numbers - {number for number in known if number is not None})
        if unknown:
            raise QueryError(
                f"Call {unknown[0]} is not a pending command; `refold calls WS --decision pending` lists them."
            )


def all_unsettled(workspace: Workspace) -> list[Recording]:
    """Return the commands that may have been sent with unknown outcome."""
    outcomes = ", ".join(f"'{outcome.value}'" for outcome in _UNSETTLED)
    condition = f"kind = 'command' AND origin = 'live' AND outcome IN ({outcomes})"
    return list(recording_store.iterate_recordings(workspace, condition))


class SentCommands:
    """The commands that one run sends, from intent to outcome."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._generation = workspace.main_workspace.generation

    def intend(
        self,
        intent: Recording,
        earlier: Callable[[Sequence[Recording]], Recording | None],
        resent: int | None,
    ) -> int | Recording:
        """Store that a command is about to be sent, and return its number.

        If the same command was sent before, return its recording instead; `earlier` finds it among the
        recordings of its event. `resent` is the number of a recording to send again.
        """
        with self._workspace.writing(generation=self._generation) as connection:
            recording = earlier(recording_store.of_event(connection, intent.call.offset))
            if (
                recording is not None
                and recording.recording_number != resent
                and not is_refused(recording)
            ):
                return recording
            recording_store.delete_same_call(connection, intent)
            (number,) = recording_store.insert_recordings(connection, [intent])
        return number

    def settle(self, number: int, recording: Recording) -> None:
        """Store how a command ended.

        If the workspace was rewritten in the meantime, store only the outcome and raise `StaleError`,
        because the answer may hold data that was removed.
        """
        try:
            with self._workspace.writing(generation=self._generation) as connection:
                recording_store.replace_recording(connection, number, recording)
        except StaleError:
            with self._workspace.writing() as connection:
                recording_store.end_pending(connection, number, recording.answer.outcome)
            raise

    def mark_done(self, pending: Recording, answer: Answer) -> Recording:
        """Count a pending command as answered; return its recording with the answer."""
        with self._workspace.writing(generation=self._generation) as connection:
            if pending.recording_number is not None:
                recording_store.answer_pending(connection, pending.recording_number, answer)
        return replace(pending, answer=answer)

    def withdraw(self, number: int) -> None:
        """Delete the intent of a command that can't be sent."""
        with self._workspace.writing(generation=self._generation) as connection:
            connection.execute("DELETE FROM calls WHERE call = ?", [number])
