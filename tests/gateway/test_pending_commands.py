"""A command with unknown outcome is not sent again unless a person says so."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway import recording_store
from gateway.calls import Answer, AnswerOutcome
from gateway.sent_commands import Choice, Choices, SentCommands
from tests.support.gateway_caller import Caller, Outside
from tui.cli import run_command

BUYS = """
def apply(state, event, gateway):
    state["bought"] = gateway.command("fx", "buy", {"n": event.data["n"]})
"""


def posts(outside: Any) -> int:
    return sum(method == "POST" for method, *_ in outside.reached)


@pytest.fixture
def killed(caller: Any, outside: Any) -> Any:
    """A recording run that was killed after the service got its command and before it answered."""
    hold = threading.Event()
    outside.answer = lambda _: not hold.wait(60) or True
    caller.events(("a", "T", {"n": 1}))
    caller.file("p.py", BUYS)
    (caller.folder / "refold.toml").write_text(f'[ports.fx]\nlive = "{outside.url}"\n')
    caller.workspace.release()
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.cli", "record", str(caller.path), "-p", "p.py"]
        + ["--config", "refold.toml", "--send", "fx"],
        cwd=caller.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not posts(outside):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    outside.answer = None
    yield caller
    hold.set()


def record(caller: Any, *options: str) -> int:
    caller.workspace.release()
    code: int = run_command(
        ["record", str(caller.path), "-p", str(caller.folder / "p.py"), "--send", "fx"]
        + ["--config", str(caller.folder / "refold.toml"), *options]
    )
    return code


def outcomes(caller: Any) -> list[str]:
    return [
        one.answer.outcome.value for one in recording_store.iterate_recordings(caller.workspace)
    ]


def test_a_pending_command_is_reported_and_not_sent_again(killed, outside: Outside, capsys):
    for _ in range(2):
        assert record(killed) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert "1 pending command not sent again" in said
        assert "call 0 (fx.buy at 0)" in said
        assert "--resend CALL" in said
        assert "--mark-done CALL" in said
    assert posts(outside) == 1
    assert outcomes(killed) == ["pending"]
    assert run_command(["calls", str(killed.path), "--decision", "pending", "--json"]) == 0
    assert '"decision": "pending"' in capsys.readouterr().out


@pytest.mark.parametrize("said", ["0", "all"])
def test_a_pending_command_is_sent_again_once_with_resend(killed, outside: Outside, said):
    assert record(killed, "--resend", said) == 0
    assert posts(outside) == 2
    assert outcomes(killed) == ["ok"]
    assert record(killed) == 0
    assert posts(outside) == 2


def test_a_pending_command_counts_as_answered_with_mark_done(killed, outside: Outside):
    assert record(killed, "--mark-done", "all") == 0
    assert record(killed) == 0
    assert posts(outside) == 1
    assert outcomes(killed) == ["ok"]


def test_an_unknown_number_is_refused(killed, capsys):
    assert record(killed, "--resend", "7") == 2
    assert "Call 7 is not a pending command" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "sent", "outcome"),
    [(Choice.RESEND, 2, "ok"), (Choice.DONE, 1, "ok"), (Choice.SKIP, 1, "pending")],
)
def test_a_person_at_the_terminal_is_asked(
    killed, outside: Outside, monkeypatch: pytest.MonkeyPatch, choice, sent, outcome
):
    asked: list[Any] = []

    def ask(pending: Any) -> Choice:
        asked.append(pending.recording_number)
        return choice

    monkeypatch.setattr("tui.cli.support.options.is_terminal", lambda: True)
    monkeypatch.setattr("tui.cli.support.pending_commands._ask", ask)
    assert record(killed) == 0
    assert asked == [0]
    assert posts(outside) == sent
    assert outcomes(killed) == [outcome]


def test_a_command_that_timed_out_is_not_sent_again_by_itself(caller: Caller, outside: Outside):
    caller.ports["fx"]["timeout"] = 0.2
    outside.answer = lambda _: time.sleep(1) or True
    caller.events(("a", "T", {"n": 1}))
    caller.file("p.py", BUYS)
    caller.record(send=("fx",))
    assert outcomes(caller) == ["timeout"]
    made = caller.record(send=("fx",))
    assert posts(outside) == 1
    assert len(made.pending) == 1


def test_two_recordings_at_once_send_a_command_once(caller: Caller, outside: Outside):
    """The second run looks for the command after the first has stored its intent."""
    caller.events(("a", "T", {"n": 1}))
    caller.file("p.py", BUYS)
    first = SentCommands(caller.workspace)
    caller.record(send=("fx",))
    [one] = recording_store.iterate_recordings(caller.workspace)
    found = first.intend(one, lambda known: known[0], None)
    assert isinstance(found, recording_store.Recording)


def test_choices_by_number_come_before_those_for_all():
    pending = recording_store.Recording(
        call=None, answer=Answer(AnswerOutcome.PENDING), recording_number=3
    )  # type: ignore[arg-type]
    choices = Choices(resend=frozenset([None]), done=frozenset([3]))
    assert choices.of(pending) is Choice.DONE
    assert Choices().of(pending) is Choice.SKIP
