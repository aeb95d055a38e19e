"""Forks on the command line: JSON fields, exit codes, and refused arguments."""

import json
from pathlib import Path
from typing import Any

import pytest

from tui import cli

PROJECTION = """
def on_Paid(state, event, gateway=None):
    state["total"] = state.get("total", 0) + event.data["amount"]
"""
SENDING = """
def on_Paid(state, event, gateway):
    state["total"] = state.get("total", 0) + event.data["amount"]
    gateway.command("mail", "send", {"to": event.stream, "total": state["total"]})
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Runs a command in a folder with a workspace of twelve payments and a projection file."""
    monkeypatch.chdir(tmp_path)
    with Path("log.jsonl").open("w") as out:
        for n in range(12):
            event = {"id": f"e{n}", "stream": "abc"[n % 3], "type": "Paid", "data": {"amount": n}}
            out.write(json.dumps(event) + "\n")
    Path("p.py").write_text(PROJECTION)
    Path("mail.py").write_text(SENDING)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run_command(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    assert run("load", "log.jsonl")[0] == 0
    return run


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_fork_prints_the_new_fork_and_timelines_lists_all(shell):
    event = '{"type": "Paid", "stream": "d", "data": {"amount": 5}}'
    made = shell(
        *("fork", "log.refold", "f", "--drop", "4", "--insert", f"6={event}"),
        *("--move", "8", "2", "--replace", '5={"data": {"amount": 50}}', "--json"),
    )
    assert made[0] == 0
    assert json.loads(made[1]) == {"timeline": "f", "parent": "main", "at": 2, "edits": 4}
    shell("fork", "log.refold", "g", "--from", "f", "--at", "6+1", "--note", "why")
    found = lines(shell("timelines", "log.refold", "--json")[1])
    assert [{k: row[k] for k in ("timeline", "parent", "at", "edits")} for row in found] == [
        {"timeline": "main", "parent": None, "at": None, "edits": 0},
        {"timeline": "f", "parent": "main", "at": 2, "edits": 4},
        {"timeline": "g", "parent": "f", "at": "6+1", "edits": 0},
    ]


def test_offsets_on_a_fork_are_numbers_of_the_log_or_names(shell):
    event = '{"type": "Paid", "stream": "b", "data": {"amount": 5}}'
    shell("fork", "log.refold", "f", "--drop", "4", "--insert", f"6={event}")
    rows = lines(shell("events", "log.refold", "--timeline", "f", "--json")[1])
    assert [row["offset"] for row in rows] == [0, 1, 2, 3, 5, 6, "6+1", 7, 8, 9, 10, 11]
    ask = ("log.refold", "-p", "p.py", "--timeline", "f", "--json")
    (row,) = lines(shell("state", *ask, "--key", "b", "--at", "6+1")[1])
    assert (row["offset"], row["state"]) == ("6+1", {"total": 1 + 5})
    (row,) = lines(shell("state", *ask, "--key", "b")[1])
    assert (row["offset"], row["state"]) == (10, {"total": 1 + 5 + 7 + 10})
    hits = lines(shell("find", *ask, "state.total >= 6")[1])
    assert [(row["offset"], row["key"]) for row in hits] == [(5, "c"), (6, "a"), ("6+1", "b")]
    touches = lines(shell("blame", *ask, "--key", "b", "--all", "total")[1])
    assert [row["offset"] for row in touches] == [10, 7, "6+1", 1]


def test_compare_lists_documents_with_the_offset_where_they_diverge(shell):
    shell("fork", "log.refold", "f", "--drop", "4")
    code, out, _ = shell("compare", "log.refold", "main", "f", "-p", "p.py", "--json")
    assert code == 0
    assert lines(out) == [{"key": "b", "diverged_at": 4, "a": {"total": 22}, "b": {"total": 18}}]
    ask = ("compare", "log.refold", "main", "f", "-p", "p.py", "--exit-code")
    assert shell(*ask)[0] == 1
    assert shell(*ask, "--at", "3")[0] == 0
    out = shell(*ask, "--value", "sum(state.total)", "--json")[1]
    assert lines(out)[-1] == {"value": "sum(state.total)", "a": 66, "b": 62, "difference": -4}


def test_join_prints_the_timeline_and_its_conflicts(shell):
    shell("fork", "log.refold", "a", "--drop", "4", "--drop", "1")
    shell("fork", "log.refold", "b", "--drop", "7", "--set", "4", "amount", "40")
    code, out, _ = shell("join", "log.refold", "a", "b", "both", "-p", "p.py", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["timeline"] == "both"
    event, document = told["conflicts"]
    assert event == {"event": 4, "a": "drop", "b": "replace", "taken": "a"}
    assert (document["key"], document["joined"]) == ("b", {"total": 10})


def test_a_sweep_is_a_table_with_the_best_first(shell):
    code, out, _ = shell(
        *("sweep", "log.refold", "-p", "p.py", "--drop-each", "stream = 'c'"),
        *("--value", "sum(state.total)", "--keep", "1", "--json"),
    )
    assert code == 0
    rows = lines(out)
    assert [row["sum(state.total)"] for row in rows] == [64, 61, 58, 55]
    assert [row["what"] for row in rows] == [f"without {n}" for n in (2, 5, 8, 11)]
    kept = lines(shell("timelines", "log.refold", "--json")[1])
    assert [row["timeline"] for row in kept] == ["main", "sweep-2"]
    # The next one's forks are called otherwise.
    again = ("--drop-each", "stream = 'c'", "--value", "count(*)", "--json")
    code, out, _ = shell("sweep", "log.refold", "-p", "p.py", *again)
    assert code == 0
    assert lines(out)[0]["timeline"].startswith("sweep2-")


def test_calls_of_two_timelines_are_compared(shell):
    Path("refold.toml").write_text(
        '[ports.mail]\nkind = "command"\nstub = {ok = true}\nmissing = ["stub"]\n'
    )
    shell(
        *("fork", "log.refold", "f", "--drop", "9", "--set", "10", "amount", "100"),
        *("--append", '{"type": "Paid", "stream": "d", "data": {"amount": 1}}'),
    )
    code, out, err = shell("calls", "log.refold", "-p", "mail.py", "--compare", "f", "--json")
    assert code == 0, err
    rows = [(row["offset"], row["key"], row["says"]) for row in lines(out)]
    assert rows == [
        (9, "a", "no longer sends"),
        (10, "b", "sends something else"),
        ("11+1", "d", "would newly send"),
    ]


def test_a_fork_with_overridden_answers(shell):
    Path("rates.py").write_text(
        "def on_Paid(state, event, gateway):\n"
        "    rate = gateway.query('rates', 'rate', {})\n"
        "    state['total'] = state.get('total', 0) + event.data['amount'] * rate\n"
    )
    journal = [
        {"event_id": f"e{n}", "port": "rates", "operation": "rate", "request": {}, "response": 2}
        for n in range(12)
    ]
    Path("calls.jsonl").write_text("".join(json.dumps(call) + "\n" for call in journal))
    shell("calls-import", "log.refold", "calls.jsonl")
    Path("answers.toml").write_text('[[overrides]]\nport = "rates"\nfrom = 10\nrespond = 3\n')
    shell("fork", "log.refold", "f", "--at", "5", "--answers", "answers.toml")
    code, out, err = shell("compare", "log.refold", "main", "f", "-p", "rates.py", "--json")
    assert code == 0, err
    assert [(row["key"], row["diverged_at"]) for row in lines(out)] == [("b", 10), ("c", 11)]
    assert lines(out)[0]["b"] == {"total": 2 * 12 + 3 * 10}


def test_a_fork_is_reproduced_as_a_test(shell):
    shell("fork", "log.refold", "f", "--set", "4", "amount", "40")
    code, out, err = shell(
        *("reproduce", "log.refold", "-p", "p.py", "--timeline", "f", "--key", "b", "--at", "7"),
        *("--expect", "total=12", "--json"),
    )
    assert code == 0, err
    folder = Path(json.loads(out)["folder"])
    events = lines((folder / "events.jsonl").read_text())
    assert [event["data"]["amount"] for event in events] == [1, 40, 7]


@pytest.mark.parametrize(
    "arguments",
    [
        ("fork", "log.refold", "main"),
        ("fork", "log.refold", "f", "--from", "nobody"),
        ("fork", "log.refold", "f", "--drop", "99"),
        ("fork", "log.refold", "f", "--drop", "start"),
        ("fork", "log.refold", "f", "--replace", "4"),
        ("fork", "log.refold", "f", "--replace", "4={"),
        ("fork", "log.refold", "f", "--insert", "4=@missing.json"),
        ("fork", "log.refold", "f", "--insert", '4={"type": "X"}'),
        ("fork", "log.refold", "f", "--move", "4", "4"),
        ("fork", "log.refold", "f", "--drop-where", "no_column = 1"),
        ("fork", "log.refold", "f", "--drop-where", "stream = 'z'"),
        ("fork", "log.refold", "f", "--set", "4", "amount.deep", "1"),
        ("fork", "log.refold", "f", "--at", "7", "--drop", "4"),
        ("edit", "log.refold", "main", "--drop", "4"),
        ("edit", "log.refold", "there"),
        ("edit", "log.refold", "there", "--undo", "--drop", "4"),
        ("edit", "log.refold", "there", "--drop", "3"),
        ("timelines", "log.refold", "--remove", "nobody"),
        ("timelines", "log.refold", "--rename", "there", "a b"),
        ("compare", "log.refold", "main", "nobody", "-p", "p.py"),
        ("compare", "log.refold", "main", "there", "-p", "p.py", "--value", "state.total"),
        ("join", "log.refold", "main", "there", "both", "-p", "p.py"),
        ("sweep", "log.refold", "-p", "p.py", "--value", "count(*)"),
        ("sweep", "log.refold", "-p", "p.py", "--value", "count(*)", "--drop-each", "stream = 'z'"),
        ("sweep", "log.refold", "-p", "p.py", "--value", "x", "--drop-each", "true"),
        (*("sweep", "log.refold", "-p", "p.py", "--value", "count(*)"), "--set", "4", "amount"),
        ("fork-export", "log.refold", "main", "f.json"),
        ("fork-apply", "log.refold", "log.jsonl"),
        ("export", "log.refold", "log.txt"),
        ("export", "log.refold", "log.jsonl"),
        ("events", "log.refold", "--timeline", "nobody"),
        ("events", "log.refold", "--timeline", "there", "--at", "3+1"),
    ],
)
def test_a_wrong_argument_is_one_sentence(shell, arguments):
    shell("fork", "log.refold", "there", "--drop", "3")
    code, out, err = shell(*arguments)
    assert (code, out) == (2, ""), err
    said = [line for line in err.splitlines() if line.startswith(("refold:", "Error:"))]
    assert len(said) == 1, err
    assert "Traceback" not in err
    assert "Unexpected error" not in err
