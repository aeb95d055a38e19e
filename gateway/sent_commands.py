"""Commands that were sent, or may have been: kept before they go out, and never sent twice unasked.

A command's intent is written, as `pending`, in the transaction that looks for an earlier one of the same
call. So a recording that is killed before the answer comes, or a second recording beside it, leaves a
row that the next one finds. What is pending is asked about: it is sent again only if a person says so.
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
"""Outcomes of which nobody knows whether the other side has acted."""


def is_unsettled(one: Recording) -> bool:
    """Whether a command may have been sent without anybody seeing its answer."""
    return one.answer.outcome in _UNSETTLED


def is_refused(one: Recording) -> bool:
    """Whether a command ended with an error, so that it may be sent again."""
    return one.answer.outcome is not AnswerOutcome.OK and not is_unsettled(one)


class Choice(Enum):
    """What becomes of a pending command."""

    RESEND = "resend"
    DONE = "done"
    """It is taken for answered, as its port declares."""
    SKIP = "skip"
    """It stays pending, and is not sent."""


@dataclass(frozen=True)
class Choices:
    """What a person has said of pending commands, by their numbers; a number of None means all."""

    resend: frozenset[int | None] = frozenset()
    done: frozenset[int | None] = frozenset()
    ask: Callable[[Recording], Choice] | None = None
    """Asks a person about one of which nothing was said; None where nobody can be asked."""

    def of(self, pending: Recording) -> Choice:
        for choice, numbers in ((Choice.RESEND, self.resend), (Choice.DONE, self.done)):
            if pending.recording_number in numbers:
                return choice
        for choice, numbers in ((Choice.RESEND, self.resend), (Choice.DONE, self.done)):
            if None in numbers:
                return choice
        return Choice.SKIP if self.ask is None else self.ask(pending)

    def refuse_unknown(self, workspace: Workspace) -> None:
        """Raise `QueryError` when a number was given that is no pending command's."""
        numbers = {number for number in self.resend | self.done if number is not None}
        known = {one.recording_number for one in all_unsettled(workspace)}
        strange = sorted(numbers - {number for number in known if number is not None})
        if strange:
            raise QueryError(
                f"Call {strange[0]} is no pending command; `refold calls WS --decision pending` lists them."
            )


def all_unsettled(workspace: Workspace) -> list[Recording]:
    """The commands that may have been sent without anybody seeing their answers."""
    outcomes = ", ".join(f"'{outcome.value}'" for outcome in _UNSETTLED)
    condition = f"kind = 'command' AND origin = 'live' AND outcome IN ({outcomes})"
    return list(recording_store.iterate_recordings(workspace, condition))


class SentCommands:
    """What one run keeps of the commands that it sends."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._generation = workspace.generation

    def intend(
        self,
        intent: Recording,
        earlier: Callable[[Sequence[Recording]], Recording | None],
        resent: int | None,
    ) -> int | Recording:
        """Keep that a command is about to be sent, and return its number.

        Return what was recorded instead when the same command was sent before; `earlier` finds it among
        the calls of its event. `resent` is the number of the one that is to be sent again.
        """
        with self._workspace.writing(generation=self._generation) as connection:
            found = earlier(recording_store.of_event(connection, intent.call.offset))
            if found is not None and found.recording_number != resent and not is_refused(found):
                return found
            recording_store.delete_same_call(connection, intent)
            (number,) = recording_store.insert_recordings(connection, [intent])
        return number

    def settle(self, number: int, kept: Recording) -> None:
        """Keep how a command ended.

        When the workspace was rewritten since, keep only that it has ended, and raise `StaleError`: the
        answer may hold what was removed.
        """
        try:
            with self._workspace.writing(generation=self._generation) as connection:
                recording_store.replace_recording(connection, number, kept)
        except StaleError:
            with self._workspace.writing() as connection:
                recording_store.end_pending(connection, number, kept.answer.outcome)
            raise

    def mark_done(self, pending: Recording, answer: Answer) -> Recording:
        """Take a pending command for answered, and return it so."""
        with self._workspace.writing(generation=self._generation) as connection:
            if pending.recording_number is not None:
                recording_store.answer_pending(connection, pending.recording_number, answer)
        return replace(pending, answer=answer)

    def withdraw(self, number: int) -> None:
        """Forget an intent whose command can't be sent."""
        with self._workspace.writing(generation=self._generation) as connection:
            connection.execute("DELETE FROM calls WHERE call = ?", [number])
