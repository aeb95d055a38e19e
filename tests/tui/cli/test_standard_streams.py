"""Sources that can be read only once, and loads that a signal ends."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tui.cli import run_command

pytestmark = pytest.mark.slow

REFOLD = [sys.executable, "-c", "from tui.cli import main; main()"]


def lines(count, first=0):
    return "".join(
        json.dumps({"id": f"e{n}", "type": "T", "stream": f"s{n % 3}", "data": {"n": n}}) + "\n"
        for n in range(first, first + count)
    )


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return tmp_path


def refold(*arguments, **options):
    return subprocess.run(
        [*REFOLD, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


def loaded(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["events"]


def in_a_shell(command, **options):
    words = " ".join(f"'{word}'" for word in REFOLD)
    return subprocess.run(
        ["bash", "-c", command.replace("REFOLD", words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_a_process_substitution_is_read_to_the_end(here):
    (here / "log.jsonl").write_text(lines(5000))
    done = in_a_shell("REFOLD load <(cat log.jsonl) --json")
    assert loaded(done) == 5000
    assert (here / "stdin.refold").exists()
    again = in_a_shell("REFOLD load <(cat log.jsonl) --json")
    assert json.loads(again.stdout)["appended"] == 0
    (here / "log.jsonl").write_text(lines(5010))
    more = in_a_shell("REFOLD load <(cat log.jsonl) --json")
    assert json.loads(more.stdout)["appended"] == 10
    (here / "log.jsonl").write_text(lines(20, first=7))
    other = in_a_shell("REFOLD load <(cat log.jsonl) --json")
    assert other.returncode == 2
    assert "no longer begins with the events" in other.stderr


def test_several_pipes_load_into_one_log(here):
    (here / "a").write_text(lines(10))
    (here / "b").write_text(lines(10, first=10))
    done = in_a_shell("REFOLD load <(cat a) <(gzip -c b) -o both.refold --json")
    assert loaded(done) == 20
    told = refold("sql", "both.refold", "SELECT path FROM sources ORDER BY source", "--json")
    assert [json.loads(line)["path"] for line in told.stdout.splitlines()] == ["-", "-2"]


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "-"])
@pytest.mark.parametrize("piped", [True, False])
def test_standard_input_by_its_other_names(here, name, piped):
    (here / "log.jsonl").write_text(lines(100))
    if piped:
        done = refold("load", name, "-o", "w.refold", "--json", input=lines(100))
    else:
        with (here / "log.jsonl").open() as stream:
            done = refold("load", name, "-o", "w.refold", "--json", stdin=stream)
    assert loaded(done) == 100


def test_a_named_pipe_is_read_when_a_process_writes_to_it(here):
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: (here / "pipe").write_text(lines(3000)))
    writer.start()
    assert loaded(refold("load", "pipe", "-o", "w.refold", "--json")) == 3000
    writer.join()


def test_other_commands_read_pipes_too(here):
    (here / "log.jsonl").write_text(lines(7))
    done = in_a_shell("REFOLD events <(cat log.jsonl) --json")
    assert len(done.stdout.splitlines()) == 7, done.stderr


@pytest.mark.parametrize(
    "command", ["REFOLD load <(true)", "REFOLD load - < /dev/null", "REFOLD load /dev/null"]
)
def test_an_empty_stream_is_an_error(here, command):
    done = in_a_shell(command)
    assert done.returncode == 2
    assert "is empty; it contains no events" in done.stderr
    assert not [*here.glob("*.refold*")]


def test_a_device_without_an_end_is_refused(capsys):
    assert run_command(["load", "/dev/zero"]) == 2
    assert "/dev/zero is a device" in capsys.readouterr().err


def test_a_pipe_is_not_followed(here):
    done = in_a_shell("REFOLD load <(true) --follow")
    assert done.returncode == 2
    assert "can't be followed" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_during_a_load_leaves_nothing(here, number):
    (here / "log.jsonl").write_text(lines(400_000))
    process = subprocess.Popen(
        [*REFOLD, "load", "log.jsonl", "-o", "w.refold"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not [*here.glob("w.refold.loading-*")] and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert [p.name for p in here.glob("w.refold*")] == []


def test_a_load_removes_the_files_that_a_killed_load_left(here):
    (here / "log.jsonl").write_text(lines(10))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [
        here / f"w.refold.loading-{gone.pid}",
        here / f"w.refold.loading-{gone.pid}.wal",
        here / f"w.refold.loading-{gone.pid}.tmp" / "block",
    ]
    left[2].parent.mkdir()
    for file in left:
        file.write_text("x")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        other = here / f"w.refold.loading-{living.pid}"
        other.write_text("x")
        assert loaded(refold("load", "log.jsonl", "-o", "w.refold", "--json")) == 10
        assert sorted(p.name for p in here.glob("w.refold*")) == ["w.refold", other.name]


def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))


def test_the_error_names_a_limit_on_file_sizes(here):
    (here / "log.jsonl").write_text(lines(200_000))
    done = refold("load", "log.jsonl", "-o", "w.refold", preexec_fn=limited)
    assert done.returncode == 2
    assert "limit" in done.stderr
    assert "damaged" not in done.stderr
    assert [*here.glob("w.refold*")] == []
    (here / "small.jsonl").write_text(lines(10))
    loaded(refold("load", "small.jsonl", "-o", "w.refold", "--json"))
    (here / "small.jsonl").write_text(lines(200_000))
    done = refold("load", "small.jsonl", "-o", "w.refold", preexec_fn=limited)
    assert done.returncode == 2
    assert "limit" in done.stderr
    assert "damaged" not in done.stderr
    told = refold("sql", "w.refold", "SELECT count(*) AS n FROM events", "--json")
    assert json.loads(told.stdout) == {"n": 10}
