"""Consent to a `refold.toml`: by name, for each entry, and again after a change."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from storage import config_dir
from tui import cli
from tui.cli.support import config_file
from tui.cli.support.consent import agreed_digests, keep_agreement

PROJECTION = """
def apply(state, event):
    state["n"] = state.get("n", 0) + 1
"""
ASKING = """
def apply(state, event, gateway):
    state["risk"] = gateway.query("risk", "risk", {"n": event.offset})
"""
PROGRAM = """
touch ran
while read line; do echo '{"response": 1}'; done
"""
EVERYTHING = """
[projections.orders]
code = "shop/orders.py:Orders"
python = "bin/python"

[projections.module]
code = "shop.orders:Orders"

[projections.query]
code = "carts.sql"

[projections.other]
code = "cmd:sh -e run.sh"

[ports.risk]
live = "cmd:sh evil.sh"

[ports.rates]
live = "https://user:secret@rates.example"
headers = { Authorization = "Bearer $TOKEN" }

[ports.own]
hosts = ["api.example"]
kind = "query"

[ports.answered]
missing = ["latest", "stub"]
stub = 1

[sources.near]
from = "log.jsonl"

[sources.far]
from = "postgresql://reader:secret@db/shop?table=events"

[sources.above]
from = "../other.jsonl"

[sources.packed]
from = "log.jsonl"
decode = { data = "base64+python:decoders.py:unpack", meta = "avro:meta.avsc" }
"""


class Shell:
    def __init__(self, folder: Path, capsys: Any) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = cli.run_command(list(arguments))
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def listed(self) -> dict[str, dict[str, Any]]:
        code, out, _ = self("trust", "--list", "--json")
        assert code == 0
        return {row["name"]: row for row in map(json.loads, out.splitlines())}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """A folder with a log and a projection, without any agreement."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Shell(folder, capsys)
    events = ({"id": f"e{n}", "stream": "s", "type": "T", "data": {"n": n}} for n in range(3))
    made.write("log.jsonl", "".join(json.dumps(event) + "\n" for event in events))
    made.write("p.py", PROJECTION)
    made.write("asking.py", ASKING)
    made.write("evil.sh", PROGRAM)
    return made


def declare(shell, *tables: str) -> None:
    shell.write("refold.toml", "\n".join(tables))


TICKS = '[projections.ticks]\ncode = "p.py"\n'
RISK = '[ports.risk]\nlive = "cmd:sh evil.sh"\n'


def test_agreeing_to_a_projection_is_no_agreement_to_a_program_of_a_port(shell):
    declare(shell, TICKS)
    assert shell("trust")[0] == 0
    assert shell("replay", "log.jsonl", "-p", "ticks")[0] == 0
    declare(shell, TICKS, RISK)
    assert shell("replay", "log.jsonl", "-p", "ticks")[0] == 0
    code, _, err = shell("record", "log.jsonl", "-p", "asking.py")
    assert code == 3
    assert "ports.risk runs the program sh evil.sh, outside the sandbox" in err
    assert len(err.splitlines()) == 1
    assert not (shell.folder / "ran").exists()
    assert shell("trust")[0] == 0
    assert shell("record", "log.jsonl", "-p", "asking.py")[0] == 0
    assert (shell.folder / "ran").exists()


def test_everything_that_runs_or_is_reached_is_listed_with_its_place(shell):
    for name in ("shop/__init__.py", "shop/orders.py", "bin/python", "carts.sql", "run.sh"):
        shell.write(name, "")
    for name in ("decoders.py", "meta.avsc"):
        shell.write(name, "")
    declare(shell, EVERYTHING)
    code, out, _ = shell("trust", "--list")
    assert code == 0
    inside, outside = "inside the sandbox", "outside the sandbox"
    native = inside if sys.platform == "linux" else outside
    assert out.splitlines() == [
        f"{line} - not agreed"
        for line in (
            f"projections.orders runs the code shop/orders.py:Orders, {inside} (files: shop/orders.py)",
            f"projections.orders.python runs the interpreter bin/python, {native} (files: bin/python)",
            f"projections.module runs the code shop.orders:Orders, {inside}"
            " (files: shop/__init__.py, shop/orders.py)",
            f"projections.query runs the SQL of carts.sql in a database that opens no files, {outside}"
            " (files: carts.sql)",
            f"projections.other runs the program sh -e run.sh, {native} (files: run.sh)",
            f"ports.risk runs the program sh evil.sh, {outside} (files: evil.sh)",
            "ports.rates sends calls to https://rates.example and sends the values of environment"
            f" variables: TOKEN, {outside}",
            "ports.own sends handlers' own calls to api.example and sends all of its calls as queries,"
            f" {outside}",
            f"sources.far reads the source postgresql://db/shop?table=events, {outside}",
            f"sources.above reads the source {shell.folder.parent / 'other.jsonl'}, {outside}",
            "sources.packed.decode.data runs the decoder base64+python:decoders.py:unpack,"
            f" {inside} (files: decoders.py)",
            f"sources.packed.decode.meta reads the schema of avro:meta.avsc, {outside} (files: meta.avsc)",
        )
    ]
    assert shell("trust")[1] == out.replace(" - not agreed", "")
    assert {row["agreed"] for row in shell.listed().values()} == {True}
    assert shell.listed()["ports.risk"]["sandboxed"] is False


@pytest.mark.parametrize(
    ("tables", "file", "name"),
    [
        (TICKS, "p.py", "projections.ticks"),
        ('[projections.m]\ncode = "shop.orders:O"\n', "shop/orders.py", "projections.m"),
        ('[projections.m]\ncode = "shop.orders:O"\n', "shop/__init__.py", "projections.m"),
        ('[projections.m]\ncode = "carts.sql"\n', "carts.sql", "projections.m"),
        ('[projections.m]\ncode = "cmd:./run.sh"\n', "run.sh", "projections.m"),
        ('[projections.m]\ncode = "cmd:sh --rcfile=run.sh"\n', "run.sh", "projections.m"),
        (
            '[projections.m]\ncode = "cmd:python -m shop.orders"\n',
            "shop/orders.py",
            "projections.m",
        ),
        (TICKS + 'python = "bin/python"\n', "bin/python", "projections.ticks.python"),
        (RISK, "evil.sh", "ports.risk"),
        (
            '[sources.s]\nfrom = "log.jsonl"\ndecode = { data = "python:d.py:f" }\n',
            "d.py",
            "sources.s.decode.data",
        ),
        (
            '[sources.s]\nfrom = "log.jsonl"\ndecode = { data = "hex+protobuf:s.desc:a.B" }\n',
            "s.desc",
            "sources.s.decode.data",
        ),
    ],
)
def test_a_named_file_that_changes_or_appears_asks_again(shell, tables, file, name):
    declare(shell, tables)
    (shell.folder / file).unlink(missing_ok=True)
    for text in ("one", "two"):
        shell("trust")
        assert shell.listed()[name]["agreed"]
        shell.write(file, text)
        assert not shell.listed()[name]["agreed"]
    shell("trust")
    (shell.folder / file).rename(shell.folder / "moved")
    (shell.folder / file).symlink_to(shell.folder / "moved")  # the same content, elsewhere
    assert not shell.listed()[name]["agreed"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TICKS, TICKS + 'python = "python3"\n'),
        (TICKS, TICKS.replace("p.py", "../work/p.py")),
        (RISK, RISK.replace("sh evil.sh", "sh -x evil.sh")),
        (RISK, RISK + 'missing = ["record"]\n'),
        (RISK, RISK + 'kind = "query"\n'),
        ('[ports.a]\nlive = "https://a.example"\n', '[ports.a]\nlive = "https://b.example"\n'),
        (
            '[ports.a]\nlive = "https://a.example"\n',
            '[ports.a]\nlive = "https://a.example"\nheaders = { X = "$HOME" }\n',
        ),
        (
            '[sources.a]\nfrom = "postgresql://a/b?table=t"\n',
            '[sources.a]\nfrom = "postgresql://a:x@c/b?table=t"\n',
        ),
    ],
)
def test_an_entry_that_changes_asks_again(shell, before, after):
    declare(shell, before)
    shell("trust")
    assert all(row["agreed"] for row in shell.listed().values())
    declare(shell, after)
    assert not all(row["agreed"] for row in shell.listed().values())
    declare(shell, before, "[gateway]\nown_time = false\n[ports.x]\nstub = 1\n")
    assert all(row["agreed"] for row in shell.listed().values())


def test_an_interpreter_of_the_file_needs_consent_if_it_would_run(shell):
    fake = shell.write("bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    fake.chmod(0o755)
    declare(shell, TICKS)
    shell("trust")
    declare(shell, TICKS + 'python = "bin/python"\n')
    code, _, err = shell("replay", "log.jsonl", "-p", "ticks")
    assert code == 3
    assert "projections.ticks.python runs the interpreter bin/python" in err
    assert "runs the code" not in err
    assert shell("replay", "log.jsonl", "-p", "ticks", "--python", sys.executable)[0] == 0


def test_a_link_through_another_folder_is_the_same_file(shell):
    declare(shell, TICKS)
    shell("trust", "../work/./refold.toml")
    elsewhere = shell.folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "refold.toml").symlink_to(shell.folder / "refold.toml")
    code, out, _ = shell("trust", "--list", "--json", str(elsewhere))
    assert code == 0
    assert json.loads(out)["agreed"]
    assert json.loads(out)["files"] == [str(shell.folder / "p.py")]


def test_a_copy_of_an_agreed_file_needs_its_own_consent(shell):
    declare(shell, TICKS)
    shell("trust")
    other = shell.folder.parent / "other"
    other.mkdir()
    for name in ("refold.toml", "p.py"):
        (other / name).write_bytes((shell.folder / name).read_bytes())
    _, out, _ = shell("trust", "--list", "--json", str(other))
    assert not json.loads(out)["agreed"]


def test_an_agreement_can_be_revoked(shell):
    declare(shell, TICKS)
    shell("trust")
    assert shell("trust", "--revoke")[0] == 0
    assert shell("replay", "log.jsonl", "-p", "ticks")[0] == 3
    code, _, err = shell("trust", "--revoke")
    assert code == 0
    assert "was agreed to" in err
    assert shell("trust", "--revoke", "--list")[0] == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "\0\0", '{"file": 1}', '{"items": []}'])
def test_a_damaged_agreement_counts_as_none(shell, content):
    declare(shell, TICKS)
    shell("trust")
    (kept,) = (config_dir.config_folder() / "agreements").glob("*.json")
    whole = json.loads(kept.read_text())
    kept.write_text(content or json.dumps({**whole, "file": "/another/refold.toml"}))
    assert shell("replay", "log.jsonl", "-p", "ticks")[0] == 3
    shell("trust")
    assert shell("replay", "log.jsonl", "-p", "ticks")[0] == 0


def test_the_error_for_an_unwritable_agreement_is_one_sentence(shell, tmp_path: Path):
    declare(shell, TICKS)
    (tmp_path / "config").write_text("no folder")
    code, _, err = shell("trust")
    assert code == 3
    assert "can't be kept in" in err
    assert len(err.splitlines()) == 1


def _agree(number: int) -> None:
    found = config_file.read_config(Path("refold.toml"))
    keep_agreement(found.path, [found.consent_items()[number]], only=False)


def test_agreements_of_several_processes_at_once_are_all_kept(shell):
    many = 12
    declare(shell, *(TICKS.replace("ticks", f"p{n}") for n in range(many)))
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        pool.map(_agree, range(many), chunksize=1)
    path = (shell.folder / "refold.toml").resolve()
    assert sorted(agreed_digests(path).values()) == sorted(f"projections.p{n}" for n in range(many))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    """A person who answers at a terminal; it keeps the questions."""
    answers: list[Any] = []

    def confirm(text: str, **_: Any) -> bool:
        answer = answers.pop(0)
        return answer() if callable(answer) else answer

    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setattr("click.confirm", confirm)
    return answers


def test_at_the_prompt_only_what_is_listed_is_agreed_to(shell, terminal):
    declare(shell, TICKS, RISK)
    terminal += [False, True]
    code, _, err = shell("replay", "log.jsonl", "-p", "ticks")
    assert code == 3
    assert "projections.ticks runs the code p.py, inside the sandbox (files: p.py)" in err
    assert "ports.risk" not in err
    assert shell("replay", "log.jsonl", "-p", "ticks")[0] == 0
    assert shell("replay", "log.jsonl", "-p", "ticks")[0] == 0  # nobody is asked
    assert [name for name, row in shell.listed().items() if row["agreed"]] == ["projections.ticks"]
    shell.write("p.py", PROJECTION + "#")
    terminal.append(False)
    _, _, err = shell("replay", "log.jsonl", "-p", "ticks")
    assert "(changed since you agreed)" in err


def test_a_file_that_changes_while_the_person_reads_is_not_run(shell, terminal):
    declare(shell, TICKS)

    def swap() -> bool:
        shell.write("p.py", "import os")
        return True

    terminal.append(swap)
    code, _, err = shell("replay", "log.jsonl", "-p", "ticks")
    assert code == 3
    assert "changed while you were asked" in err
    assert not shell.listed()["projections.ticks"]["agreed"]


def test_hostile_names_do_not_reach_the_terminal(shell):
    declare(shell, '[projections."\\u001b[2Jx\\nok"]\ncode = "cmd:sh \\u001b]0;x\\u0007"\n')
    for command in (("trust", "--list"), ("trust", "--list", "--json"), ("trust",)):
        _, out, err = shell(*command)
        assert "\x1b" not in out + err
        assert len(out.splitlines()) == 1


def test_a_file_given_with_config_is_reported_and_not_saved_as_agreed(shell):
    declare(shell, RISK)
    code, _, err = shell("record", "log.jsonl", "-p", "asking.py", "--config", "refold.toml")
    assert code == 0
    assert "ports.risk runs the program sh evil.sh, outside the sandbox" in err
    assert not shell.listed()["ports.risk"]["agreed"]


@pytest.mark.parametrize("port", ['kind = "query"', 'hosts = ["127.0.0.1"]'])
def test_calls_that_handlers_send_themselves_need_consent(shell, port):
    declare(shell, f"[ports.web]\n{port}\n")
    code, _, err = shell("record", "log.jsonl", "-p", "p.py")
    assert code == 3
    assert "ports.web sends" in err


def test_a_replay_that_calls_ports_for_missing_answers_needs_consent(shell):
    hits: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1")

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        shell.write(
            "web.py",
            "import urllib.request\n"
            "def apply(state, event):\n"
            f"    urllib.request.urlopen('http://127.0.0.1:{server.server_port}/x').read()\n",
        )
        declare(shell, '[ports.web]\nhosts = ["127.0.0.1"]\nmissing = ["record"]\n')
        code, _, err = shell("replay", "log.jsonl", "-p", "web.py")
        assert code == 3
        assert "ports.web sends handlers' own calls to 127.0.0.1" in err
        assert hits == []
    finally:
        server.shutdown()
        server.server_close()


def test_a_program_of_a_port_runs_beside_the_file_that_names_it(
    shell, monkeypatch: pytest.MonkeyPatch
):
    declare(shell, RISK)
    shell("load", "log.jsonl")
    shell("trust")
    elsewhere = shell.folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "evil.sh").write_text("touch was-not-agreed-to\n" + PROGRAM)
    monkeypatch.chdir(elsewhere)
    code, _, err = shell("record", "../work/log.refold", "-p", "../work/asking.py")
    assert (code, list(elsewhere.glob("was-*"))) == (0, []), err
    assert (shell.folder / "ran").exists()


def test_a_source_outside_the_folder_needs_consent(shell):
    (shell.folder.parent / "other.jsonl").write_text((shell.folder / "log.jsonl").read_text())
    (shell.folder / "link.jsonl").symlink_to("../other.jsonl")
    for number, name in enumerate(
        ("../other.jsonl", str(shell.folder.parent / "*.jsonl"), "link.jsonl")
    ):
        declare(shell, f'[sources.s{number}]\nfrom = "{name}"\n')
        code, _, err = shell("load", f"s{number}")
        assert code == 2, name
        assert f"sources.s{number} reads the source" in err
    declare(shell, '[sources.near]\nfrom = "log.jsonl"\n')
    assert shell("load", "near")[0] == 0


def test_the_screen_asks_as_the_command_line_does(shell):
    declare(shell, TICKS)
    shell("load", "log.jsonl")
    # A pseudo-terminal, in which somebody says no.
    code = (
        "import os, pty, sys\n"
        "pid, line = pty.fork()\n"
        "if pid == 0:\n"
        "    os.execv(sys.executable, [sys.executable, '-m', 'tui.cli', 'open', 'log.refold', '-p', 'ticks'])\n"
        "seen = b''\n"
        "while b'Allow this' not in seen:\n"
        "    seen += os.read(line, 1024)\n"
        "os.write(line, b'n\\n')\n"
        "try:\n"
        "    while part := os.read(line, 1024):\n"
        "        seen += part\n"
        "except OSError:\n"
        "    pass\n"
        "sys.stdout.buffer.write(seen)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    root = str(Path(cli.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "projections.ticks runs the code p.py, inside the sandbox" in done.stdout
    assert "did not agree" in done.stdout
