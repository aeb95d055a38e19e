"""The broker when several workers call at once, and when it is closed during a call."""

import sys
import threading
from pathlib import Path

import pytest

from gateway.broker import Broker
from gateway.calls import AnswerOutcome, Call, CallKind
from gateway.live_clients import LiveClients
from gateway.modes import Mode
from gateway.ports import PortSet, parse_ports
from tests.support.gateway_caller import Caller, Outside


def query(port: str = "fx", offset: int = 0, number: int = 0) -> Call:
    return Call(CallKind.QUERY, port, "rate", {"number": number}, offset)


def test_interleaved_workers_number_the_calls_of_each_event(caller: Caller):
    caller.events(("a", "T", {}), ("b", "T", {}))
    broker = Broker(caller.workspace, caller.settings(Mode.RECORD), "p")
    for number, offset in enumerate([0, 1, 0, 1, 1, 0]):
        broker.decide(query(offset=offset, number=number), lambda: ())
    broker.close()
    numbered = [(one.offset, one.ordinal) for one in broker.recordings.take()]
    assert numbered == [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (0, 2)]


def test_recordings_that_were_taken_are_not_given_again(caller: Caller):
    caller.events(("a", "T", {}))
    broker = Broker(caller.workspace, caller.settings(Mode.RECORD), "p")
    broker.decide(query(), lambda: ())
    assert len(broker.recordings.take()) == 1
    assert broker.recordings.take() == []
    broker.close()


def make_clients(folder: Path, **port: object) -> LiveClients:
    return LiveClients(PortSet(parse_ports({"fx": port}, "refold.toml")), folder)


def call_in_thread(clients: LiveClients, call: Call) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(clients.call(call))
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def test_a_client_in_use_is_closed_when_its_call_has_ended(tmp_path: Path, outside: Outside):
    arrived, may_answer = threading.Event(), threading.Event()

    def answer(handler: object) -> bool:
        arrived.set()
        may_answer.wait(30)
        return False

    outside.answer = answer
    clients = make_clients(tmp_path, live=outside.url)
    thread, results = call_in_thread(clients, query())
    assert arrived.wait(30)
    clients.close()
    may_answer.set()
    thread.join(30)
    [result] = results
    assert getattr(result, "outcome", result) is AnswerOutcome.OK, result


PROGRAM = """
import pathlib, sys, time
pathlib.Path("started").open("a").write("x")
for line in sys.stdin:
    pathlib.Path("called").touch()
    time.sleep(600)
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    (tmp_path / "program.py").write_text(PROGRAM)
    return f"cmd:{sys.executable} program.py"


def test_closing_ends_a_program_that_has_not_answered(tmp_path: Path, program: str):
    clients = make_clients(tmp_path, live=program, timeout=300)
    thread, results = call_in_thread(clients, query())
    while not (tmp_path / "called").exists():
        thread.join(0.01)
    clients.close()
    thread.join(30)
    assert not thread.is_alive()
    [result] = results
    assert getattr(result, "outcome", None) is AnswerOutcome.ERROR, result
    assert "ended before it answered" in str(getattr(result, "error", ""))


def test_closed_clients_start_no_program(tmp_path: Path, program: str):
    clients = make_clients(tmp_path, live=program, timeout=300)
    clients.close()
    thread, results = call_in_thread(clients, query())
    thread.join(5)
    assert not (tmp_path / "started").exists()
    assert "refold has closed" in str(getattr(results[0], "error", ""))


def test_a_child_of_a_program_does_not_delay_the_end(tmp_path: Path):
    (tmp_path / "program.py").write_text(
        "import subprocess, sys\n"
        "for line in sys.stdin:\n"
        "    subprocess.Popen(['sleep', '60'], stderr=subprocess.DEVNULL)\n"
        "    print('1', flush=True)\n"
    )
    clients = make_clients(tmp_path, live=f"cmd:{sys.executable} program.py", timeout=300)
    assert clients.call(query()).outcome is AnswerOutcome.OK
    closing = threading.Thread(target=clients.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive(), "the program's child still holds the pipe"
