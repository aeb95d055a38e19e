"""The campaign detects faults: each test causes one on purpose, and the campaign finds it."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crash.command import Home, Outcome, run_function
from crash.escapes import attacks
from crash.escapes.canaries import Canaries
from crash.escapes.terminal import Terminal
from crash.escapes.variants import VARIANTS, write_hostile
from crash.file_watch import FileWatch
from crash.finding import Finding, FindingFolder, Tally, Try, TryResult
from crash.hang import HangDetector
from crash.inputs.batch_child import run_batches
from crash.inputs.hostile_worker import hostile_program, hostile_projection
from crash.inputs.kinds import KINDS
from crash.inputs.mutation import mutate_bytes, mutate_json, mutate_words
from crash.kills.kill_commands import COMMANDS
from crash.kills.syscall_stop import Stop, SyscallStop
from crash.kills.two_writers import RACES
from crash.kills.workspace_rows import difference, lost, read_rows
from crash.output_rules import broken_rules

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign runs on Linux only")


@pytest.fixture
def home(tmp_path: Path):
    (tmp_path / "work").mkdir()
    return Home((tmp_path / "work").resolve())


def outcome(**changed):
    usual = {
        "arguments": ["events", "--json"],
        "code": 0,
        "stdout": b"",
        "stderr": b"",
        "seconds": 0.1,
        "memory_mb": 10.0,
        "processor_seconds": 0.1,
        "hang": "",
        "survivors": [],
    }
    return Outcome(**{**usual, **changed})


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"hang": "used no processor time", "code": -9}, "hang"),
        ({"memory_mb": 2_001.0}, "memory"),
        ({"code": -11}, "crash"),
        ({"code": 70}, "exit code"),
        ({"survivors": ["sleep 60 S"]}, "process left"),
        ({"stderr": b"Traceback (most recent call last):"}, "traceback"),
        ({"stderr": b"refold: Unexpected error: x"}, "Unexpected error"),
        ({"stdout": b'{"a": "\x1b[31m"}'}, "control character"),
        ({"stderr": "a\u202eb".encode()}, "control character"),
        ({"stdout": b'{"a": NaN}'}, "invalid JSON"),
        ({"stdout": b'{"a": 1}\n{"a"'}, "invalid JSON"),
    ],
)
def test_each_broken_rule_is_a_finding(changed, fault):
    assert fault in {finding.fault for finding in broken_rules(outcome(**changed))}


def test_a_command_that_keeps_every_rule_gives_no_finding():
    fine = outcome(stdout=b'{"a": 1}\n{"a": "\\u001b"}\n', stderr=b"refold: No.\n", code=2)
    assert broken_rules(fine) == []


def write_three_times():
    for number in range(3):
        with Path(f"file{number}").open("w") as stream:
            stream.write("x")
    return 0


def run_stopped(home, stop, at):
    made = SyscallStop(home.folder, stop, at)
    ended = run_function(home, write_three_times, before=made.install, watch=made.answer)
    made.close()
    return made, ended


def test_changes_of_files_are_counted_and_a_kill_comes_before_the_one_that_is_named(home):
    counted, ended = run_stopped(home, Stop.NOTHING, 0)
    assert (counted.count, ended.code) == (6, 0)  # each file is made and written
    for file in home.folder.glob("file*"):
        file.unlink()
    killed, ended = run_stopped(home, Stop.KILL, 4)
    assert ended.code == -signal.SIGKILL
    assert killed.last.endswith("/file1")
    found = {path.name: path.read_text() for path in home.folder.glob("file*")}
    assert found == {"file0": "x", "file1": ""}


def test_a_process_that_outlives_a_killed_command_may_go_on_changing_files(home):
    def start():
        subprocess.Popen(["sh", "-c", "sleep 0.5; echo x > late; rm late; echo y > ended"])
        return write_three_times()

    killed = SyscallStop(home.folder, Stop.KILL, 4)
    ended = run_function(home, start, before=killed.install, watch=killed.answer)
    killed.close()
    assert (ended.code, ended.survivors) == (-signal.SIGKILL, [])
    assert (home.folder / "ended").read_text() == "y\n"


def test_a_full_disk_and_a_signal_reach_the_command(home):
    _, ended = run_stopped(home, Stop.DISK_FULL, 3)
    assert b"No space left on device" in ended.stderr
    _, ended = run_stopped(home, Stop.TERMINATE, 3)
    assert ended.code == -signal.SIGTERM


def test_hangs_crashes_and_high_memory_are_assigned_to_their_try(
    home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("crash.inputs.batch_child.LIMIT_SECONDS", 0.5)

    def attempt(number, begin_command):
        begin_command()
        if number == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if number == 4:
            signal.pause()
        return [Finding("told", "")] if number == 5 else [], 1

    found = {n: [f.fault for f in r.findings] for n, r in run_batches(home, range(7), attempt)}
    assert found == {0: [], 1: [], 2: ["crash"], 3: [], 4: ["hang"], 5: ["told"], 6: []}


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def monotonic(self):
        return self.now


def run_detector(monkeypatch: pytest.MonkeyPatch, measured, *, has_work=False):
    """Return what a hang detector says at the end of pairs of clock and processor seconds."""
    clock = Clock()
    monkeypatch.setattr("crash.hang.time", clock)
    detector = HangDetector(lambda: has_work, limit_seconds=10)
    found = ""
    for clock.now, used in measured:
        found = detector.check(used)
    return found


def test_a_command_that_waits_for_a_busy_processor_is_not_a_hang(monkeypatch):
    assert run_detector(monkeypatch, [(n, n * 0.03) for n in range(99)]) == ""
    assert run_detector(monkeypatch, [(n, 0.0) for n in range(99)], has_work=True) == ""


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        ([(n, float(n)) for n in range(12)], "more than 10 s of processor time"),
        ([(0, 0.0), (1, 1.0), (12, 1.02)], "used no processor time for 10 s"),
        ([(n, n * 0.03) for n in range(122)], "did not end within 120 s"),
    ],
)
def test_endless_work_idleness_and_endless_polling_are_hangs(monkeypatch, measured, why):
    assert why in run_detector(monkeypatch, measured)


def test_each_command_of_a_try_has_its_own_limit(home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("crash.inputs.batch_child.LIMIT_SECONDS", 1.5)

    def attempt(number, begin_command):
        for _ in range(3):
            begin_command()
            end = time.process_time() + (0.7 if number == 0 else 9.0)
            while time.process_time() < end:
                pass
        return [], 1

    found = {n: [f.fault for f in r.findings] for n, r in run_batches(home, range(2), attempt)}
    assert found == {0: [], 1: ["hang"]}


def test_processes_that_outlive_a_command_are_counted_and_ended(
    home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("crash.command._GRACE_SECONDS", 0.2)

    def start():
        subprocess.Popen(["sleep", "60"], start_new_session=True)
        return 0

    assert [one.split()[0] for one in run_function(home, start).survivors] == ["sleep"]


def test_lost_and_half_written_rows_are_findings(home):
    import duckdb

    def write(*values):
        path = home.folder / "w.duckdb"
        path.unlink(missing_ok=True)

        def make():
            with duckdb.connect(path) as connection:
                connection.execute("CREATE TABLE events AS SELECT unnest(?) AS n", [list(values)])
            return 0

        assert run_function(home, make).code == 0
        return read_rows(home, path)

    before, after = write(1, 2), write(1, 2, 3)
    assert difference(before, before) == ""
    assert "-0 +1" in difference(before, after)
    assert lost(before, after, ("events",)) == ""
    assert "1 rows" in lost(after, before, ("events",))


def test_only_the_values_that_refold_draws_at_random_are_ignored(home):
    import duckdb

    def write(**values):
        path = home.folder / "w.duckdb"
        path.unlink(missing_ok=True)

        def make():
            with duckdb.connect(path) as connection:
                connection.execute("CREATE TABLE workspace (name VARCHAR, value VARCHAR)")
                connection.executemany("INSERT INTO workspace VALUES (?, ?)", [*values.items()])
                connection.execute(
                    "CREATE TABLE folds AS SELECT 1 AS keys, ? AS plain", [values["mapping"]]
                )
            return 0

        assert run_function(home, make).code == 0
        return read_rows(home, path), read_rows(home, path, with_caches=False)

    one, one_without = write(generation="ab", mapping="x")
    other, _ = write(generation="cd", mapping="x")
    changed, changed_without = write(generation="ab", mapping="y")
    assert difference(one, other) == ""
    assert "workspace: -1 +1" in difference(one, changed)
    assert "folds: -1 +1" in difference(one, changed)
    assert "folds" not in difference(one_without, changed_without)


def test_every_canary_detects_its_attack(tmp_path: Path):
    with Canaries(tmp_path) as canaries:
        targets = canaries.targets()
        assert list(canaries.alarms()) == []
        socket.create_connection(("127.0.0.1", targets["tcp"])).close()
        for family, name in ((socket.AF_INET, ("127.0.0.1", targets["udp"])),):
            socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.sendto(b"x", targets["unix_datagram"])
        Path(targets["absent"]).write_text("x")
        os.setpriority(os.PRIO_PROCESS, targets["victim"], 5)
        found = [(finding.fault, finding.detail) for finding in canaries.alarms()]
    assert [fault for fault, _ in found].count("socket reached") == 3
    assert {fault for fault, _ in found} == {"socket reached", "file changed", "process changed"}


def test_the_terminal_detects_keys_that_are_read(home):
    with Terminal() as terminal:
        assert list(terminal.alarms(reads_keys=False)) == []

        def read():
            descriptor = os.open(terminal.name, os.O_RDONLY | os.O_NOCTTY)
            return 0 if os.read(descriptor, 100) else 1

        assert run_function(home, read).code == 0
        assert [f.fault for f in terminal.alarms(reads_keys=False)] == ["keys read"]


def test_a_file_watch_detects_that_a_file_was_opened(tmp_path: Path):
    path = tmp_path / "canary"
    path.write_text("x")
    with FileWatch([path]) as watch:
        assert watch.opened() == set()
        path.read_text()
        assert watch.opened() == {path}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_and_number_give_the_same_mutation(kind):
    def made():
        draw = random.Random(f"3/{kind}/5")
        return (
            mutate_bytes(draw, b"some bytes of a file"),
            mutate_json(draw, {"a": [1, {"b": "c"}]}),
            mutate_words(draw, "a > 1 AND b"),
        )

    assert made() == made()


def test_hostile_files_are_python(tmp_path: Path):
    targets = {"file": "f", "absent": "a", "folder": "d"}
    all_attacks = [one for found in attacks.BY_KIND.values() for one in found.values()]
    pairs = [(attack, "handler") for attack in all_attacks]
    for attack, variant in [*pairs, *((all_attacks[0], variant) for variant in VARIANTS)]:
        write_hostile(tmp_path, attack, variant, targets)
        compile((tmp_path / "hostile.py").read_text(), "hostile.py", "exec")
    compile(hostile_projection(1), "hostile.py", "exec")
    compile(hostile_program(1), "hostile.py", "exec")


def test_a_finding_is_kept_with_the_command_that_repeats_it(tmp_path: Path):
    kept = FindingFolder(tmp_path, seed=7)
    kept.keep(Try("kills", "load", 3), TryResult([Finding("lost", "events")], 1.0, 2.0))
    content = json.loads((tmp_path / "kills-load-7-3.json").read_text())
    assert content["repeat"] == "python -m crash --only kills/load --seed 7 --try 3"


def test_figures_of_several_processes_add_up(tmp_path: Path):
    one = Tally()
    one.add("kills/load", TryResult([Finding("lost", "")], 1.0, 20.0, 5))
    one.write(tmp_path / "one")
    both = Tally()
    both.merge([one, Tally.read(tmp_path / "one")])
    found = both.kinds["kills/load"]
    assert (found.tries, found.inputs, found.with_findings) == (2, 10, 2)
    assert (found.faults["lost"], found.worst_seconds, found.worst_memory_mb) == (2, 1.0, 20.0)


def test_the_runs_of_one_folder_add_up(tmp_path: Path):
    for name in ("one", "other", "other"):  # the same tries again replace their earlier tally
        tally = Tally()
        tally.add("kills/load", TryResult([], 1.0, 20.0, processor_seconds=0.5))
        tally.seconds = 60
        tally.keep(tmp_path, name)
    total = Tally.read_all(tmp_path)
    assert (total.seconds, total.kinds["kills/load"].tries) == (120, 2)


def run_campaign(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "crash", *arguments], capture_output=True, text=True, check=False
    )


def test_pieces_cover_every_try_once_and_the_total_sums_them_up(tmp_path: Path):
    for piece in ("1/2", "2/2"):
        arguments = ("--only", "inputs/positions", "--inputs", "1000", "--findings", tmp_path)
        done = run_campaign(*map(str, arguments), "--jobs", "1", "--piece", piece)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "inputs/positions                  1 " in done.stdout
    total = run_campaign("--total", "--findings", str(tmp_path))
    assert "inputs/positions                  2 " in total.stdout


def test_a_run_whose_time_is_over_says_what_it_left(tmp_path: Path):
    arguments = ("--only", "inputs/positions", "--inputs", "3000", "--findings", str(tmp_path))
    done = run_campaign(*arguments, "--jobs", "1", "--hours", "0")
    assert "tries were not run" in done.stdout
    assert done.returncode == 0


def test_no_two_kinds_of_kills_share_a_name():
    assert not COMMANDS.keys() & RACES.keys()
