"""Commands that catch signals: their handlers are gone when the command has ended."""

import json
import signal
from pathlib import Path

import pytest

from replay.worker_host.sigint import catch_interrupt, handled_signals
from tui.cli import run_command

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROJECTION = "def apply(state, event):\n    state['n'] = state.get('n', 0) + 1\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"e{n}", "type": "T", "stream": "s", "data": {"n": n}} for n in range(4)]
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("p.py").write_text(PROJECTION)
    assert run_command(["load", "log.jsonl", "-o", "w.refold"]) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("replay w.refold -p p.py", 0),
        ("replay w.refold -p absent.py", 3),
        ("record w.refold -p p.py", 0),
        ("record w.refold -p absent.py", 3),
        ("sql w.refold SELECT+1", 0),
        ("sql w.refold SELECT+nothing", 2),
        ("remove w.refold --stream s --yes", 0),
        ("migrate w.refold", 0),
    ],
)
def test_a_command_restores_the_handlers_of_signals(here, command, code):
    before = [signal.getsignal(number) for number in NUMBERS]
    arguments = [word.replace("+", " ") for word in command.split()]
    assert run_command(arguments) == code
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_handlers_are_restored_after_an_error_and_inside_each_other():
    before = [signal.getsignal(number) for number in NUMBERS]

    def fail() -> None:
        with catch_interrupt(*NUMBERS) as outer, catch_interrupt() as inner:
            signal.raise_signal(signal.SIGINT)
            assert (inner(), outer()) == (True, False)
            signal.raise_signal(signal.SIGTERM)
            assert outer()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_a_handler_that_raises_is_restored_too():
    before = signal.getsignal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def wait() -> None:
        with handled_signals(interrupt, signal.SIGINT):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert signal.getsignal(signal.SIGINT) == before
