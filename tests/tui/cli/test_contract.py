"""The contract of the command line: JSON fields, exit codes, standard output and error."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tui import cli

ROOT = Path(__file__).parents[3]
MAIN = "from tui.cli import main; main()"
PROJECTION = """
def apply(state, event):
    if event.data["n"] == 3:
        raise ValueError("three")
    state["n"] = event.data["n"]
"""


def write_log(path: Path, count: int, **extra: Any) -> None:
    with path.open("w") as stream:
        for n in range(count):
            event = {
                "id": f"e{n}",
                "time": f"2026-01-01T00:{n % 60:02d}:00Z",
                "stream": f"s-{n % 2}",
            }
            event |= {"type": "Ticked", "data": {"n": n, **extra}}
            stream.write(json.dumps(event) + "\n")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Runs a command in a folder with `log.jsonl` and `p.py`; returns exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.jsonl", 6)
    (tmp_path / "p.py").write_text(PROJECTION)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run_command(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_load_says_what_it_did_and_appends_the_same_source(shell, tmp_path: Path):
    code, out, _ = shell("load", "log.jsonl", "--json")
    told = json.loads(out)
    fields = {"workspace", "events", "rejected", "streams", "types", "format", "seconds"}
    assert code == 0
    assert fields <= set(told)
    assert (told["events"], told["streams"], told["types"]) == (6, 2, {"Ticked": 6})
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"id":"x","stream":"s-9","type":"New","data":{"n":9}}\n')
    assert json.loads(shell("load", "log.jsonl", "--json")[1])["events"] == 7


def test_standard_error_is_open_until_the_process_ends(tmp_path: Path):
    write_log(tmp_path / "log.jsonl", 6)
    late = "import atexit, sys; atexit.register(lambda: print('the last words', file=sys.stderr))"
    command = [sys.executable, "-c", f"{late}\n{MAIN}", "load", "log.jsonl", "--json"]
    ran = subprocess.run(
        command,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert json.loads(ran.stdout)["events"] == 6
    assert ran.stderr.endswith("the last words\n")
    assert "nanobind" not in ran.stderr


def test_events_are_json_lines_and_at_with_limit_gives_the_last_ones(shell):
    code, out, _ = shell("events", "log.jsonl", "--json")
    assert code == 0
    fields = ["offset", "time", "stream", "revision", "type", "id", "data", "meta"]
    assert [list(row)[: len(fields)] for row in lines(out)] == [fields] * 6
    _, out, _ = shell("events", "log.jsonl", "--at", "4", "--limit", "2", "--json")
    assert [row["offset"] for row in lines(out)] == [3, 4]
    _, out, _ = shell("events", "log.jsonl", "--where", "stream = 's-1'", "--json")
    assert [row["offset"] for row in lines(out)] == [1, 3, 5]


def test_replay_folds_a_source_and_reports_it(shell):
    code, out, _ = shell("replay", "log.jsonl", "-p", "p.py", "--json")
    told = json.loads(out)
    assert code == 0
    assert told.pop("seconds") >= 0
    assert told.pop("calls") == 0
    assert told.pop("clean_room").startswith("level ")
    assert told.pop("projection").startswith("p@")
    assert told == {
        "timeline": "main",
        "events": 6,
        "skipped": 0,
        "failures": 1,
        "keys": 2,
        "changes": 5,
    }


def test_state_diff_and_failures(shell):
    _, out, _ = shell("state", "log.jsonl", "-p", "p.py", "--at", "3", "--json")
    assert lines(out) == [
        {"key": "s-0", "offset": 2, "state": {"n": 2}},
        {"key": "s-1", "offset": 1, "state": {"n": 1}},
    ]
    span = ("--from", "1", "--to", "5", "--key", "s-1", "--json")
    _, out, _ = shell("diff", "log.jsonl", "-p", "p.py", *span)
    [row] = lines(out)
    assert (row["key"], row["path"], row["before"], row["after"]) == ("s-1", "n", 1, 5)
    _, out, _ = shell("failures", "log.jsonl", "-p", "p.py", "--json")
    [row] = lines(out)
    assert list(row) == ["offset", "key", "type", "error", "traceback"]
    assert (row["offset"], row["error"]) == (3, "ValueError: three")


@pytest.mark.parametrize("position", ["3", "-3", "id:e3", "s-1@1", "2026-01-01T00:03Z", "66.6%"])
def test_every_way_to_write_a_position(shell, position):
    code, out, _ = shell("events", "log.jsonl", "--at", position, "--json")
    assert (code, len(lines(out))) == (0, 4)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ("events", "nothing.jsonl")),
        (2, ("events", "log.jsonl", "--at", "99")),
        (2, ("events", "log.jsonl", "--at", "when?")),
        (2, ("events", "log.jsonl", "--where", "no_column = 1")),
        (2, ("events", "log.jsonl", "--timeline", "other")),
        (2, ("state", "log.jsonl")),
        (2, ("no-such-command",)),
        (2, ("sql", "log.jsonl", "SELEKT 1")),
        (2, ("sql", "log.jsonl", "SELECT 1; SELECT 2")),
        (3, ("replay", "log.jsonl", "-p", "missing.py")),
        (3, ("replay", "log.jsonl", "-p", "no_such_module:Name")),
        (3, ("replay", "log.jsonl", "-p", "broken.py")),
        (3, ("replay", "log.jsonl", "-p", "p.py", "--python", "/no/python")),
        (1, ("state", "log.jsonl", "-p", "p.py", "--key", "nobody")),
        (1, ("state", "log.jsonl", "-p", "p.py", "--key", "s-0", "--at", "start")),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(shell, tmp_path: Path, code, arguments):
    (tmp_path / "broken.py").write_text("def apply(state event): pass\n")
    found, out, err = shell(*arguments, *(["--json"] if arguments[0] != "no-such-command" else []))
    assert (found, out) == (code, "")
    assert "Traceback" not in err
    assert "Unexpected error" not in err
    assert err.strip()


def test_a_source_of_the_same_name_does_not_use_the_workspace_of_another(shell, tmp_path: Path):
    shell("load", "log.jsonl")
    (tmp_path / "log.csv").write_text("id,stream,type\nx,other,Other\n")
    code, out, err = shell("events", "log.csv", "--json")
    assert (code, out) == (2, "")
    assert "another log" in err


def test_a_source_that_has_grown_is_loaded_before_it_is_shown(shell, tmp_path: Path):
    shell("events", "log.jsonl", "--json")
    write_log(tmp_path / "log.jsonl", 8)
    assert len(lines(shell("events", "log.jsonl", "--json")[1])) == 8


def test_the_name_of_a_history_shows_it_and_runs_no_code(shell, tmp_path: Path):
    shell("replay", "log.jsonl", "-p", "p.py")
    (tmp_path / "p.py").write_text("raise SystemExit('ran')\n")
    code, out, err = shell("state", "log.refold", "-p", "p", "--json")
    assert (code, len(lines(out))) == (0, 2)
    assert "has changed since" in err


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM events",
        "CREATE TABLE t (a INT)",
        "COPY events TO 'out.csv'",
        "ATTACH 'other.db'",
        "SELECT * FROM read_csv('secret.csv')",
        "SELECT * FROM 'secret.csv'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
    ],
)
def test_sql_writes_nothing_and_reads_no_other_file(shell, tmp_path: Path, query):
    (tmp_path / "secret.csv").write_text("secret\nhunter2\n")
    shell("load", "log.jsonl")
    before = sorted(tmp_path.iterdir())
    code, out, _ = shell("sql", "log.refold", query)
    assert code == 2
    assert "hunter2" not in out
    assert sorted(tmp_path.iterdir()) == before
    assert len(lines(shell("events", "log.refold", "--json")[1])) == 6


def test_sql_prints_valid_json(shell):
    query = (
        "SELECT 'nan'::DOUBLE AS n, 0.10::DECIMAL(4, 2) AS d,"
        " TIMESTAMPTZ '2026-01-01' AS t, [1] AS l"
    )
    code, out, _ = shell("sql", "log.jsonl", query, "--json")
    assert code == 0

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    row = json.loads(out, parse_constant=refuse)
    assert row == {"n": "NaN", "d": 0.1, "t": "2026-01-01T00:00:00Z", "l": [1]}


def test_escape_sequences_in_data_do_not_reach_the_terminal(shell, tmp_path: Path):
    (tmp_path / "p.py").write_text("def apply(state, event): raise ValueError(event.data['t'])\n")
    write_log(tmp_path / "log.jsonl", 3, t="\x1b[31mred\x07\u202e")
    for command in (
        ("events", "log.jsonl"),
        ("sql", "log.jsonl", "SELECT data, json_extract_string(data, 't') AS t FROM events"),
        ("failures", "log.jsonl", "-p", "p.py"),
        ("state", "log.jsonl", "-p", "p.py", "--key", "\x1b[31m"),
    ):
        _, out, err = shell(*command)
        assert not {"\x1b", "\x07", "\u202e"} & set(out + err), command


def test_protocol_test_sanitizes_the_output_of_the_program(shell, tmp_path: Path):
    source = "import sys; sys.stderr.write('no \\x1b[31msources\\n'); sys.exit(3)"
    (tmp_path / "bad.py").write_text(source)
    code, out, err = shell("protocol-test", sys.executable, str(tmp_path / "bad.py"))
    assert code == 1
    assert "exited with code 3 before it answered the greeting" in out
    assert "no ␛[31msources" in err
    assert "\x1b" not in out + err


def test_json_keeps_all_digits_of_numbers(shell, tmp_path: Path):
    event = '{"id":"a","stream":"s","type":"T","data":{"n":0.10000000000000000001}}\n'
    (tmp_path / "log.jsonl").write_text(event)
    assert "0.10000000000000000001" in shell("events", "log.jsonl", "--json")[1]


def start(folder: Path, *arguments: str, **how: Any) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_closes_the_pipe_is_no_error(tmp_path: Path, options):
    write_log(tmp_path / "log.jsonl", 4000)
    assert start(tmp_path, "load", "log.jsonl").wait(60) == 0
    process = start(tmp_path, "events", "log.refold", *options)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    assert (process.wait(60), said) == (0, b"")


def test_a_command_waits_for_a_writer_and_names_it(shell, tmp_path: Path):
    shell("load", "log.jsonl")
    holder = "import duckdb, sys, time; c = duckdb.connect('log.refold'); print('held', flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{holder}; time.sleep(60)"], cwd=tmp_path, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        code, _, err = shell("events", "log.refold", "--wait", "0.5")
        assert code == 2
        assert 0.4 < time.monotonic() - started < 10
        assert f"process {process.pid}" in err
    finally:
        process.kill()
        process.wait()
    assert shell("events", "log.refold", "--wait", "5")[0] == 0


def test_interrupting_a_replay_exits_with_4_and_keeps_what_was_folded(tmp_path: Path):
    write_log(tmp_path / "log.jsonl", 400)
    (tmp_path / "p.py").write_text(
        "import time\ndef apply(state, event):\n    state['n'] = event.offset; time.sleep(0.005)\n"
    )
    process = start(tmp_path, "replay", "log.jsonl", "-p", "p.py")
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode:  # else it was done before the signal came
        assert process.returncode == 4, said
    process = start(tmp_path, "replay", "log.jsonl", "-p", "p.py", "--json")
    assert json.loads(process.communicate(timeout=60)[0])["changes"] == 400


@pytest.mark.parametrize(
    "name", ["orders", *(pytest.param(n, marks=pytest.mark.slow) for n in ("accounts", "stock"))]
)
def test_the_demo_as_text_shows_all_stops(shell, name):
    code, out, _ = shell("demo", name)
    assert code == 0
    assert "$ refold diff" in out
    assert "wrong" in out


def test_the_workspace_is_a_plain_duckdb_file(shell, tmp_path: Path):
    shell("replay", "log.jsonl", "-p", "p.py")
    with duckdb.connect(str(tmp_path / "log.refold"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM history").fetchall() == [(5,)]


@pytest.fixture
def declared(shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A workspace with a `refold.toml` beside it; commands run in another folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    shell("load", "log.jsonl")
    (tmp_path / "refold.toml").write_text('[projections.ticks]\ncode = "p.py"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return shell


def test_a_declared_projection_runs_only_after_the_person_agreed(declared, tmp_path: Path):
    fold = ("replay", "../log.refold", "-p", "ticks", "--json")
    code, out, said = declared(*fold)
    assert (code, out) == (3, "")
    assert f"refold trust {tmp_path / 'refold.toml'}" in said

    code, out, _ = declared("trust", "..")
    assert (code, out) == (
        0,
        "projections.ticks runs the code p.py, inside the sandbox (files: p.py)\n",
    )
    code, out, _ = declared(*fold)
    assert code == 0
    assert json.loads(out)["events"] == 6
    code, out, _ = declared("state", "../log.refold", "-p", "ticks", "--at", "1", "--json")
    assert [line["state"] for line in lines(out)] == [{"n": 0}, {"n": 1}]

    with (tmp_path / "p.py").open("a") as stream:
        stream.write("# changed\n")
    assert declared(*fold)[0] == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[projections.ticks", "can't be read"),
        ("[projections.ticks]\ncode = 5", "Expected `str`, got `int`"),
        ('[projections.ticks]\ncode = "p.py"\nspeed = 2', "unknown field `speed`"),
        ('[projections.ticks]\ncode = "no.py"', "There is no projection file no.py."),
    ],
)
def test_an_error_names_what_is_wrong_in_a_declaration(declared, tmp_path: Path, content, said):
    (tmp_path / "refold.toml").write_text(content)
    declared("trust", "..")
    code, _, narration = declared("replay", "../log.refold", "-p", "ticks")
    assert code == 3
    assert said in narration
    assert len(narration.splitlines()) == 1


def test_blame_names_the_event_that_last_changed_a_value(shell):
    code, out, _ = shell("blame", "log.jsonl", "-p", "p.py", "--key", "s-0", "n", "--json")
    assert code == 0
    [last] = lines(out)
    assert {k: last[k] for k in ("offset", "type", "id", "before", "after")} == {
        "offset": 4,
        "type": "Ticked",
        "id": "e4",
        "before": 2,
        "after": 4,
    }
    assert last["time"] == "2026-01-01T00:04:00Z"

    every = ("blame", "log.jsonl", "-p", "p.py", "--key", "s-0", "n", "--all", "--json")
    assert [line["offset"] for line in lines(shell(*every)[1])] == [4, 2, 0]
    assert [line["offset"] for line in lines(shell(*every, "--at", "3")[1])] == [2, 0]
    assert "null" in shell(*every[:-1])[1]


def test_blame_of_a_value_that_never_changed_exits_with_1(shell):
    code, out, said = shell("blame", "log.jsonl", "-p", "p.py", "--key", "s-0", "no.such", "--json")
    assert (code, out) == (1, "")
    assert "No event up to the end changed no.such of 's-0'." in said
    assert shell("blame", "log.jsonl", "-p", "p.py", "--key", "s-0", "a..b")[0] == 2


def test_find_lists_every_offset_at_which_a_condition_became_true(shell):
    find = ("find", "log.jsonl", "-p", "p.py")
    code, out, _ = shell(*find, "sum(state.n) > 2", "--json")
    assert (code, lines(out)) == (0, [{"offset": 2, "key": None, "state": None}])
    code, out, _ = shell(*find, "state.n >= 1 AND offset < 5", "--json")
    assert code == 0
    assert lines(out) == [
        {"offset": 1, "key": "s-1", "state": {"n": 1}},
        {"offset": 2, "key": "s-0", "state": {"n": 2}},
    ]
    assert len(lines(shell(*find, "state.n >= 1", "--first", "--json")[1])) == 1
    ended = shell(*find, "state.n < 4", "--ended", "--json")[1]
    assert [line["offset"] for line in lines(ended)] == [4, 5]
    code, out, said = shell(*find, "state.n = 'x'")
    assert code == 0
    assert "never became true" in said
    assert "No state" not in said
    assert "In 5 states the value has another type" in said
    assert shell(*find, "state.n > (SELECT 1)")[0] == 2
    assert len(lines(shell(*find, "state.n >= 1", "--limit", "1", "--json")[1])) == 1


def test_a_message_names_paths_that_no_state_has(shell, tmp_path: Path):
    missing = "No state ever had a value at state.m or state.o['p q']."
    of = ("log.jsonl", "-p", "p.py")
    assert missing in shell("find", *of, "state.m > state.o['p q'] + state.n")[2]
    assert missing in shell("check", *of, "--invariant", "sum(state.m + state.o['p q']) = 0")[2]
    assert missing in shell("values", *of, "sum(state.m) - count(state.o['p q'])")[2]
    assert "No state" not in shell("values", *of, "count(*)")[2]
    words = PROJECTION + '    state["t"] = "x"\n'
    (tmp_path / "p.py").write_text(words)
    assert "can add" in shell("find", *of, "sum(state.t) = 0")[2]
    assert "can add" not in shell("find", *of, "sum(state.n) = count(state.t)")[2]


def test_an_invalid_invariant_does_not_stop_the_check_of_others(shell, tmp_path: Path):
    rules = 'INVARIANTS = {"torn": "state.n <", "small": "state.n < 4"}\n'
    (tmp_path / "p.py").write_text(rules + PROJECTION)
    code, out, said = shell("check", "log.jsonl", "-p", "p.py", "--json")
    assert (code, [line["offset"] for line in lines(out)]) == (2, [4, 5])
    assert said.splitlines()[-1].startswith("torn: The condition 'state.n <' doesn't parse")
    limited = shell("check", "log.jsonl", "-p", "p.py", "--limit", "1", "--json")[1]
    assert [line["offset"] for line in lines(limited)] == [4]


def test_check_lists_every_offset_at_which_an_invariant_became_broken(shell, tmp_path: Path):
    rules = 'INVARIANTS = {"small": lambda s: s["n"] < 2, "few": "sum(state.n) < 6"}\n'
    (tmp_path / "p.py").write_text(rules + PROJECTION)
    code, out, _ = shell("check", "log.jsonl", "-p", "p.py", "--json")
    assert code == 1
    assert [{k: line[k] for k in ("invariant", "offset", "key")} for line in lines(out)] == [
        {"invariant": "small", "offset": 2, "key": "s-0"},
        {"invariant": "few", "offset": 5, "key": None},
        {"invariant": "small", "offset": 5, "key": "s-1"},
    ]
    asked = ("check", "log.jsonl", "-p", "p.py", "--invariant")
    code, out, said = shell(*asked, "state.n >= 0", "--json")
    assert (code, out) == (0, "")
    assert "The invariant holds in every state" in said
    code, out, _ = shell(*asked, "state.n <> 2", "--json")
    assert (code, lines(out)[0]["until"]) == (1, 4)
    assert shell(*asked, "state.n >")[0] == 2


def test_check_without_invariants_explains_how_to_give_one(shell):
    code, out, said = shell("check", "log.jsonl", "-p", "p.py", "--json")
    assert (code, out) == (0, "")
    assert "declares no INVARIANTS; give one with --invariant" in said


def test_values_of_a_document_and_of_all(shell):
    values = ("values", "log.jsonl", "-p", "p.py", "--stretches", "3", "--json")
    code, out, _ = shell(*values, "state.n", "sum(state.n)", "--key", "s-0")
    assert code == 0
    assert lines(out) == [
        {"expression": "state.n", "offset": 1, "low": 0.0, "high": 0.0, "last": 0.0},
        {"expression": "state.n", "offset": 3, "low": 0.0, "high": 2.0, "last": 2.0},
        {"expression": "state.n", "offset": 5, "low": 2.0, "high": 4.0, "last": 4.0},
        {"expression": "sum(state.n)", "offset": 1, "low": 0.0, "high": 1.0, "last": 1.0},
        {"expression": "sum(state.n)", "offset": 3, "low": 1.0, "high": 3.0, "last": 3.0},
        {"expression": "sum(state.n)", "offset": 5, "low": 3.0, "high": 9.0, "last": 9.0},
    ]
    assert shell(*values, "state.n")[0] == 2


def test_logpoint_has_a_row_for_every_event_of_a_type(shell):
    logpoint = ("logpoint", "log.jsonl", "-p", "p.py", "--type", "Ticked", "--json")
    code, out, _ = shell(*logpoint, "data.n", "before.n", "--limit", "3")
    assert code == 0
    assert lines(out) == [
        {"offset": 0, "key": "s-0", "data.n": 0, "before.n": None},
        {"offset": 1, "key": "s-1", "data.n": 1, "before.n": None},
        {"offset": 2, "key": "s-0", "data.n": 2, "before.n": 0},
    ]
    assert shell(*logpoint, "colour")[0] == 2
    times = shell(*logpoint, "time", "--when", "time >= '2026-01-01T00:05'")[1]
    assert lines(times) == [{"offset": 5, "key": "s-1", "time": "2026-01-01T00:05:00.000000Z"}]
    code, out, said = shell(
        "logpoint", "log.jsonl", "-p", "p.py", "--type", "Tick", "data", "--json"
    )
    assert (code, out) == (0, "")
    assert "No event of type 'Tick' is in the log." in said


def test_causes_of_an_event(shell, tmp_path: Path):
    with (tmp_path / "caused.jsonl").open("w") as stream:
        for n in range(4):
            cause = f"e{n - 1}" if n in (1, 2) else None
            event = {"id": f"e{n}", "causation_id": cause, "stream": "s", "type": "T", "data": {}}
            stream.write(json.dumps(event) + "\n")
    code, out, _ = shell("causes", "caused.jsonl", "--at", "1", "--json")
    assert code == 0
    assert [(line["offset"], line["depth"]) for line in lines(out)] == [(0, 0), (1, 1), (2, 2)]


def test_offset_needs_no_quotes_in_a_condition(shell):
    code, out, _ = shell(
        "events", "log.jsonl", "--where", "offset > 3 AND id <> 'offset'", "--json"
    )
    assert code == 0
    assert [line["offset"] for line in lines(out)] == [4, 5]


def test_a_source_declared_in_refold_toml_is_loaded(
    shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "refold.toml").write_text(
        '[sources.mine]\nfrom = "log.jsonl"\nmap = { type = "stream" }\nredact = ["data.n"]\n'
        '[sources.far]\nfrom = "kafka://user:s3cretword@127.0.0.1:1/orders"\n'
        '[sources.odd]\nfrom = "log.jsonl"\nflavour = "sweet"\n'
    )
    code, _, said = shell("load", "mine")
    assert (code, "flavour" in said) == (2, True)
    text = (tmp_path / "refold.toml").read_text().partition("[sources.odd]")[0]
    (tmp_path / "refold.toml").write_text(text)
    code, out, _ = shell("load", "mine", "--json")
    told = json.loads(out)
    assert (code, told["workspace"]) == (0, "mine.refold")
    assert told["types"] == {"s-0": 3, "s-1": 3}
    data = [row["data"]["n"] for row in lines(shell("events", "mine.refold", "--json")[1])]
    assert all(str(value).startswith("redacted-") for value in data)
    assert json.loads(shell("load", "mine", "--json")[1])["appended"] == 0
    code, _, said = shell("load", "far")
    assert code == 2
    assert "You have not agreed" in said
    assert "s3cretword" not in said


def test_a_single_document_is_shown_whole(shell, tmp_path: Path):
    long = (
        "def initial(key): return {'text': 'x' * 300, 'n': 0.10}\ndef apply(state, event): pass\n"
    )
    (tmp_path / "long.py").write_text(long)
    code, out, _ = shell("state", "log.jsonl", "-p", "long.py", "--key", "s-0")
    assert code == 0
    assert json.loads(out[out.index("{") :]) == {"text": "x" * 300, "n": 0.1}


def test_conditions_on_events_name_paths_in_their_data(shell):
    code, out, _ = shell("events", "log.jsonl", "--where", "data.n >= 3 AND offset < 5", "--json")
    assert code == 0
    assert [row["offset"] for row in lines(out)] == [3, 4]


def test_an_error_says_that_offset_needs_quotes_in_sql(shell):
    for query in ("SELECT offset, type FROM events", "SELECT type FROM events WHERE offset > 2"):
        code, _, err = shell("sql", "log.jsonl", query)
        assert code == 2
        assert 'so write the column as "offset"' in err
