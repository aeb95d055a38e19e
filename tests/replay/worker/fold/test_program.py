"""Programs in other languages: the examples of `docs/protocol.md`, and programs with faults."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replay.checks.protocol_check import ProtocolCheck
from sample_logs import SAMPLES
from storage.errors import ProjectionError
from storage.log.event_log import EventLog
from tests.support.projection_kinds import PROGRAM
from tests.support.projection_studio import Studio

ROOT = Path(__file__).parents[4]
EXAMPLES = ROOT / "docs" / "examples"
COMMANDS = {"node": ("node", EXAMPLES / "orders.js"), "java": ("java", EXAMPLES / "Orders.java")}
PLAIN = PROGRAM.replace("ROUTES", "False")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.external) for name in COMMANDS])
def command(request: Any) -> list[str]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return list(map(str, COMMANDS[request.param]))


def _numbers(value: Any) -> Any:
    """Convert whole floats to int, because JavaScript doesn't distinguish them."""
    if isinstance(value, dict):
        return {name: _numbers(member) for name, member in value.items()}
    return float(value) if isinstance(value, int) else value


def test_the_examples_fold_as_the_python_projection_does(studio: Studio, command: list[str]):
    sample = SAMPLES["orders"]
    shutil.copy(sample.log, studio.log)
    studio.events()
    shutil.copy(sample.projection, studio.folder / "orders.py")
    right = [(o, k, _numbers(s)) for o, k, s in studio.changes(studio.fold("orders.py"))]
    folded = studio.fold(f"cmd:{' '.join(command)}")
    assert [(o, k, _numbers(s)) for o, k, s in studio.changes(folded)] == right
    assert folded.name.lower() == "orders"
    assert len(right) > 2_900


def test_the_examples_speak_the_protocol(studio: Studio, command: list[str]):
    if command[0] == "java":
        # Compile it once: a source file would be compiled at each of its many starts.
        subprocess.run(["javac", "-d", str(studio.folder), command[1]], check=True)
        command = ["java", "-XX:TieredStopAtLevel=1", "-cp", str(studio.folder), "Orders"]
    shutil.copy(SAMPLES["orders"].log, studio.log)
    events = EventLog(studio.events()).read_details(0, 60)
    findings = list(ProtocolCheck(command, events).run_checks())
    assert [f.problem for f in findings if not f.has_passed] == []
    assert len(findings) == 8


def test_the_conversation_in_protocol_md_matches_the_code(studio: Studio, worker):
    """The document's lines can be read, and refold writes the same lines."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    [conversation] = re.findall(r"## A conversation.*?```\n(.*?)```", text, re.DOTALL)
    lines = conversation.splitlines()
    [greeting, ready, *rest] = [json.loads(line[2:]) for line in lines]
    assert greeting == {"refold": 1, "resuming": False}
    assert ready["ready"] == 1
    events, answers = rest[::2], rest[1::2]
    data = [(e["event"]["stream"], e["event"]["type"], e["event"]["data"]) for e in events]
    from refold_worker.protocol.line_protocol import format_event_line

    for event, detail in zip(
        events, EventLog(studio.events(*data)).read_details(0, len(data)), strict=True
    ):
        line = json.loads(format_event_line("event", detail, detail.data, detail.meta))
        assert list(line["event"]) == list(event["event"])
        assert line["event"]["offset"] == event["event"]["offset"]
    _program(studio, f"ANSWERS = {answers!r}\n" + _ANSWERING)
    folded = studio.fold(f"cmd:{sys.executable} p.py")
    assert studio.changes(folded) == [(0, "order-1", {"items": {"tea": 2}})]
    assert dict(folded.unhandled_by_type) == {"PageViewed": 1}


_ANSWERING = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "refold" in message:
        print('{"ready": 1}', flush=True)
    elif "event" in message:
        answer = ANSWERS[message["event"]["offset"]]
        print(answer if isinstance(answer, str) else json.dumps(answer), flush=True)
"""


def _program(studio: Any, source: str) -> None:
    studio.file("p.py", source)


GOOD = {"offset": 0, "changes": {"a": {"n": 1}}}
WRONG = {
    "rubbish": ("hello", "answered the event with a line that is not JSON: hello"),
    "no object": ("[1]", "answered the event with [1], which is not an object"),
    "another offset": ({"offset": 5}, 'answered {"offset": 5}, which doesn\'t answer the event'),
    "no offset": ({}, "answered {}, which doesn't answer the event"),
    "true as an offset": (
        {"offset": True},
        'answered {"offset": true}, which doesn\'t answer the event',
    ),
    "a fraction as an offset": ({"offset": 1.0}, "which doesn't answer the event"),
    "neither": (
        {"offset": 1},
        "which has none of changes, skipped and error; it needs exactly one of them",
    ),
    "both": ({"offset": 1, "changes": {}, "error": "x"}, "which has changes and error of changes"),
    "no documents": (
        {"offset": 1, "changes": ["a"]},
        'answered with changes = ["a"], which must be an object of documents',
    ),
    "skipped that is false": ({"offset": 1, "skipped": False}, "which must be true"),
    "an error without a text": ({"offset": 1, "error": None}, "which must be a text"),
    "another document": (
        {"offset": 1, "changes": {"z": {}}},
        'named the document "z" for an event of "a" without "routes": true in its answer to the greeting',
    ),
    "a failure of another document": ({"offset": 1, "error": "x", "key": "z"}, 'the document "z"'),
    "NaN": ('{"offset": 1, "changes": {"a": NaN}}', "with a line that is not JSON"),
    "a number beyond numbers": (
        '{"offset": 1, "changes": {"a": [1e999]}}',
        "answered with the number 1e999, which is too large for a double",
    ),
    "nesting": ('{"offset": 1, "changes": ' + "[" * 100_000, "with JSON that is nested too deep"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_is_reported_and_earlier_results_are_kept(studio: Studio, wrong):
    answer, expected = WRONG[wrong]
    studio.events(*[("a", "T", {})] * 3)
    _program(studio, f"ANSWERS = {[GOOD, answer, GOOD]!r}\n" + _ANSWERING)
    with pytest.raises(ProjectionError) as caught:
        studio.fold(f"cmd:{sys.executable} p.py")
    assert expected in caught.value.message
    assert "at offset 1 (T of a); the states before it are kept." in caught.value.message
    assert caught.value.exit_code == 3
    kept = studio.found(f"cmd:{sys.executable} p.py")
    assert studio.changes(kept) == [(0, "a", {"n": 1})]


def test_a_lone_surrogate_is_shown_as_a_python_escape(studio: Studio):
    _program(
        studio, f"ANSWERS = {[{**GOOD, 'changes': {'a': {'x': chr(0xD800)}}}]!r}\n" + _ANSWERING
    )
    studio.events(("a", "T", {}))
    folded = studio.fold(f"cmd:{sys.executable} p.py")
    assert studio.changes(folded) == [(0, "a", {"x": "\\ud800"})]


def test_a_failure_may_contain_a_lone_surrogate(studio: Studio):
    failed = {"offset": 0, "error": "no " + chr(0xDC80), "traceback": "at " + chr(0xD800)}
    _program(studio, f"ANSWERS = {[failed]!r}\n" + _ANSWERING)
    studio.events(("a", "T", {}))
    [failure] = studio.failures(studio.fold(f"cmd:{sys.executable} p.py"))
    assert (failure.error, failure.traceback) == ("no \\udc80", "at \\ud800")


def test_another_command_is_another_projection(studio: Studio):
    _program(
        studio,
        "import sys\n"
        + PLAIN.replace('state["total"] + by', 'state["total"] + by * int(sys.argv[1])'),
    )
    studio.events(("a", "Added", {"by": 1}))
    found = [studio.fold(f"cmd:{sys.executable} p.py {times}") for times in (1, 100)]
    assert [studio.changes(folded)[0][2]["total"] for folded in found] == [1, 100]


def test_the_last_output_of_a_program_is_reported(studio: Studio):
    _program(studio, f"ANSWERS = {[GOOD, GOOD]!r}\n" + _ANSWERING + "        boom()\n")
    studio.events(*[("a", "T", {})] * 2)
    with pytest.raises(ProjectionError, match=r"\(NameError: name 'boom' is not defined"):
        studio.fold(f"cmd:{sys.executable} p.py")


def test_a_program_inside_its_command_may_be_long(studio: Studio):
    studio.events(("a", "Added", {"by": 1}))
    source = PLAIN + "#" * 400
    folded = studio.fold(f"cmd:{sys.executable} -c {shlex.quote(source)}")
    assert studio.changes(folded)[0][2]["total"] == 1


ENDS = {
    "exits": ("sys.exit(4)", "exited with code 4 before it answered the event"),
    "exits inside a line": (
        "sys.stdout.write('{'); sys.stdout.flush(); sys.exit(0)",
        "exited with code 0 in the middle of a line before it answered the event",
    ),
    "is killed": ("os.kill(os.getpid(), 9)", "was ended by SIGKILL before it answered the event"),
    "hangs": ("time.sleep(60)", "did not return within 1 s"),
}


@pytest.mark.parametrize("end", ENDS)
def test_results_are_kept_if_a_program_ends_half_way(studio: Studio, end):
    statement, expected = ENDS[end]
    studio.events(*[("a", "T", {})] * 3)
    source = _ANSWERING.replace(
        "        answer =",
        f"        if message['event']['offset'] == 1: {statement}\n        answer =",
    )
    _program(studio, f"import os, time\nANSWERS = {[GOOD] * 3!r}\n" + source)
    with pytest.raises(ProjectionError, match=re.escape(expected)) as caught:
        studio.fold(f"cmd:{sys.executable} p.py", patience=1)
    assert "offset 1 (T of a)" in caught.value.message
    assert studio.changes(studio.found(f"cmd:{sys.executable} p.py")) == [(0, "a", {"n": 1})]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("cmd:no-such-program-anywhere x", "can't be started: No such file"),
        ("cmd:true", "exited with code 0 before it answered the greeting"),
        ("cmd:sh -c 'echo no sources >&2; exit 3'", "answered the greeting (no sources)."),
        ("cmd:echo hello", "answered the greeting with a line that is not JSON: hello"),
        ("cmd:cat", 'answered the greeting with {"refold": 1, "resuming": false} instead of'),
        ("cmd:", "names no program"),
        ("cmd:node 'orders.js", "is not a valid command: No closing quotation"),
        (
            "orders.js",
            "Name a projection in another language by its command, such as cmd:node orders.js",
        ),
    ],
)
def test_an_invalid_program_is_reported_in_one_sentence(studio: Studio, reference, expected):
    studio.events(("a", "T", {}))
    with pytest.raises(ProjectionError) as caught:
        studio.fold(reference)
    assert expected in caught.value.message
    assert "\n" not in caught.value.message


def test_a_program_ends_after_the_fold(studio: Studio):
    studio.events(*[("a", "T", {})] * 3)
    _program(
        studio,
        f"import os, time\nANSWERS = {[GOOD] * 3!r}\n"
        + _ANSWERING.replace("        answer =", "        time.sleep(60)\n        answer ="),
    )
    mark = f"left-{studio.folder}"
    with pytest.raises(ProjectionError):
        studio.fold(f"cmd:{sys.executable} p.py {mark}", patience=0.5)
    assert not _running(mark)


BROKEN = {
    "greets": ('{"ready": 1, "routes": ROUTES}', '{"ready": 2}', "answered the greeting"),
    "greets with strange members": ("ROUTES", "1", "must be of type bool"),
    "answers each event, in order": (
        '"offset": event["offset"]',
        '"offset": 3',
        "where offset 0 was expected",
    ),
    "skips unknown event types": ('"skipped": True', '"error": "what?"', "of an unknown type"),
    "gives the same answers in another process": (
        '"name": key',
        '"name": key, "id": id(object()), "now": __import__("time").time_ns()',
        "Two processes gave different answers for offset 0",
    ),
    "resumes from stored documents": (
        'documents[message["document"]] = message["state"]',
        "pass",
        "Resumed from the documents before offset 20",
    ),
    "exits at the end of its input": (
        "    print(json.dumps(answer), flush=True)\n",
        "    print(json.dumps(answer), flush=True)\nprint('bye')\n",
        "wrote more than one line for an event",
    ),
}


@pytest.mark.parametrize("check", BROKEN)
def test_the_protocol_check_reports_each_fault(studio: Studio, check):
    original, replacement, expected = BROKEN[check]
    source = PROGRAM.replace(original, replacement, 1).replace("ROUTES", "False")
    studio.file("p.py", source)
    events = EventLog(studio.events(*[("ab"[n % 2], "Added", {"by": n}) for n in range(40)]))
    found = ProtocolCheck(
        [sys.executable, str(studio.folder / "p.py")],
        events.read_details(0, 40),
        patience_seconds=3,
    )
    wrong = {f.check: f.problem for f in found.run_checks() if not f.has_passed}
    name = check.removesuffix(" with strange members")
    assert name in wrong
    assert any(expected in text for text in wrong.values())


def test_a_correct_program_passes_with_any_routing(studio: Studio):
    events = EventLog(studio.events(*[("ab"[n % 2], "Added", {"by": n}) for n in range(40)]))
    for routes in ("True", "False"):
        studio.file("p.py", PROGRAM.replace("ROUTES", routes))
        test = ProtocolCheck(
            [sys.executable, str(studio.folder / "p.py")],
            events.read_details(0, 40),
            patience_seconds=5,
        )
        assert [f.problem for f in test.run_checks()] == [""] * 8


def test_a_program_does_not_outlive_a_parent_that_was_killed(studio: Studio):
    """Also a program that never reads its input."""
    studio.events(("a", "T", {}))
    studio.file("p.py", "import time\ntime.sleep(600)\n")
    mark = f"outlives-{studio.folder}"
    studio.workspace.release()
    command = [sys.executable, "-c", "from tui.cli import main; main()"]
    parent = subprocess.Popen(
        [*command, "replay", "log.refold", "-p", f"cmd:{sys.executable} p.py {mark}"],
        cwd=studio.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    _until(lambda: _running(mark))
    parent.kill()
    parent.wait()
    _until(lambda: not _running(mark))


def _running(mark: str) -> list[str]:
    """Return the running programs with this argument; a dead process has no arguments."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if place.read_bytes().split(b"\0")[1:3] == [b"p.py", mark.encode()]:
                found.append(place.parent.name)
    return found


def _until(wanted: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)
