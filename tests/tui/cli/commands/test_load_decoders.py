"""Payloads that a user's function decodes: in a worker, and only if the user names it."""

import base64
import json
import sys
from pathlib import Path

import pytest

from tui import cli

UNPACK = """
import os
print("loaded by", os.getpid())
Path = "no function"
class NotUnpackable: pass
def unpack(payload):
    assert isinstance(payload, str)
    kind, _, rest = payload.partition(":")
    if kind == "bad": raise ValueError(payload)
    if kind == "die": os._exit(5)
    if kind == "out":
        import socket
        socket.create_connection(("127.0.0.1", 9))
    return {"kind": kind, "rest": rest, "by": os.getpid()}
def of_bytes(payload):
    assert isinstance(payload, bytes)
    return payload.decode("utf-16")
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    Path("decoders.py").write_text(UNPACK)

    def write(*payloads):
        with Path("log.jsonl").open("a") as out:
            for n, payload in enumerate(payloads):
                row = {"id": str(n), "stream": "a", "type": "T", "data": payload}
                out.write(json.dumps(row) + "\n")

    def run(*arguments):
        code = cli.run_command(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    def data():
        out = run("events", "log.refold", "--json")[1]
        return [json.loads(line)["data"] for line in out.splitlines()]

    run.write, run.data = write, data
    return run


OWN = ("--map", "data=data", "--decode", "data=python:decoders.py:unpack")


def test_a_function_decodes_in_another_process(shell):
    shell.write("a:1", "bad:2", "é:3", "out:4")
    code, _, err = shell("load", "log.jsonl", *OWN)
    assert code == 0, err
    found = shell.data()
    assert (found[0]["kind"], found[0]["rest"], found[2]["kind"]) == ("a", "1", "é")
    import os

    assert found[0]["by"] == found[2]["by"] != os.getpid()
    assert found[1] == "bad:2"
    assert found[3] == "out:4"  # nothing gets out of a worker
    assert "2 payloads can't be decoded with --decode; refold kept them as stored." in err


def test_a_column_called_data_is_taken(shell):
    shell.write("a:1")
    assert shell("load", "log.jsonl", "--decode", OWN[3])[0] == 0
    assert shell.data()[0]["rest"] == "1"
    Path("other.jsonl").write_text('{"id": "1", "type": "T", "payload": "a:1"}\n')
    code, _, err = shell("load", "other.jsonl", "--decode", OWN[3])
    assert code == 2
    assert "There is no column data to decode; name the column with --map data=COLUMN." in err


def test_a_function_can_be_the_last_of_several_steps(shell):
    shell.write(base64.b64encode("grüße".encode("utf-16")).decode())
    decode = "data=base64+python:decoders.py:of_bytes"
    assert shell("load", "log.jsonl", "--map", "data=data", "--decode", decode)[0] == 0
    assert shell.data() == ["grüße"]


def test_appends_run_no_code_that_is_not_named(shell):
    shell.write("a:1")
    assert shell("load", "log.jsonl", *OWN)[0] == 0
    shell.write("a:2")
    code, _, err = shell("load", "log.jsonl")
    assert code == 2
    assert (
        "refold runs only code that you name: give --decode FIELD=python:decoders.py:unpack" in err
    )
    code, _, err = shell("open", "log.jsonl", "--at", "0")
    assert code == 2
    assert shell("load", "log.jsonl", *OWN)[0] == 0
    assert [one["rest"] for one in shell.data()] == ["1", "2"]


def test_a_refold_toml_that_names_a_decoder_needs_consent(shell):
    shell.write("a:1")
    Path("refold.toml").write_text(
        '[sources.shop]\nfrom = "log.jsonl"\nmap = { data = "data" }\n'
        'decode = { data = "python:decoders.py:unpack" }\n'
    )
    code, _, err = shell("load", "shop", "-o", "log.refold")
    assert code == 2
    assert "runs the decoder python:decoders.py:unpack, inside the sandbox" in err
    assert shell("trust", "refold.toml")[0] == 0
    assert shell("load", "shop", "-o", "log.refold")[0] == 0
    assert shell.data()[0]["rest"] == "1"


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("python:nowhere.py:unpack", 2, "is not a function of an existing file"),
        ("python:decoders.py", 2, "is not a function of an existing file"),
        ("python:decoders.py:nothing", 3, "has nothing called nothing"),
        ("python:decoders.py:Path", 3, "Path is not a plain function"),
        ("python:decoders.py:unpack+gzip", 2, "Unknown decoder 'python:decoders.py:unpack'"),
    ],
)
def test_an_error_names_a_decoder_that_is_no_function(shell, how, code, said):
    shell.write("a:1")
    found = shell("load", "log.jsonl", "--map", "data=data", "--decode", f"data={how}")
    assert (found[0], said in found[2]) == (code, True), found
    assert not Path("log.refold").exists()


def test_a_function_that_ends_its_process_ends_the_load(shell):
    shell.write("a:1", "die:2")
    code, _, err = shell("load", "log.jsonl", *OWN)
    assert code == 2
    assert "exited with code 5" in err
    assert "at payload 2" in err
    assert not Path("log.refold").exists()


READS = """
import os
def unpack(payload):
    try:
        with open(payload) as stream:
            return {"text": stream.read(), "token": os.environ.get("A_TOKEN")}
    except OSError as error:
        return {"error": error.strerror, "token": os.environ.get("A_TOKEN")}
"""


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file outside the folder in which the command runs."""
    monkeypatch.setenv("A_TOKEN", "secret")
    path = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    path.write_text("secret")
    return path


@pytest.mark.real_worker
@pytest.mark.skipif(sys.platform != "linux", reason="landlock is Linux's")
@pytest.mark.parametrize(("readable", "can_read"), [(".", False), ("/", True), (None, True)])
def test_decoder_reads_only_the_folders_that_the_user_gives(shell, secret, readable, can_read):
    Path("decoders.py").write_text(READS)
    shell.write(str(secret))
    options = () if readable is None else ("--read-only-below", readable)
    assert shell("load", "log.jsonl", *OWN, *options)[0] == 0
    (data,) = shell.data()
    assert (data.get("text"), data["token"]) == (("secret",) * 2 if can_read else (None, None))


@pytest.mark.real_worker
@pytest.mark.skipif(sys.platform != "linux", reason="landlock is Linux's")
def test_decoder_of_a_declared_source_reads_only_its_folder(shell, secret):
    Path("decoders.py").write_text(READS)
    Path("refold.toml").write_text(
        '[sources.shop]\nfrom = "log.jsonl"\nmap = { data = "data" }\n'
        'decode = { data = "python:decoders.py:unpack" }\n'
    )
    shell.write(str(secret))
    assert shell("trust", "refold.toml")[0] == 0
    assert shell("load", "shop", "-o", "log.refold")[0] == 0
    (data,) = shell.data()
    assert (data.get("text"), data["token"]) == (None, None)
