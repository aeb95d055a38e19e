"""The commands for calls to the outside, as scripts use them."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tui.cli import run_command

PROJECTION = """
def apply(state, event, gateway):
    state["rate"] = gateway.query("rates", "rate", {"n": event.data["n"]})
    gateway.command("mail", "send", {"to": "x"})
"""


@pytest.fixture
def service():
    counted = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            counted.append(self.path)
            body = json.dumps(len(counted)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", counted
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    events = [{"id": f"e{n}", "stream": "a", "type": "T", "data": {"n": n}} for n in range(3)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    (tmp_path / "p.py").write_text(PROJECTION)
    toml = f'[ports.rates]\nlive = "{service[0]}"\n[ports.mail]\nlive = "{service[0]}"\n'
    (tmp_path / "refold.toml").write_text(toml)
    return tmp_path


@pytest.fixture
def shell(capsys, folder):
    def call(*arguments):
        capsys.readouterr()
        code = run_command(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def _rows(out):
    return [json.loads(line) for line in out.splitlines()]


def test_record_then_replay_then_calls(shell, service, folder):
    code, out, err = shell("record", "log.jsonl", "-p", "p.py", "--config", "refold.toml", "--json")
    assert code == 0, err
    assert json.loads(out) == {"calls": 6, "errors": 0, "suppressed": 3, "pending": 0}
    assert "3 commands not sent" in err
    assert len(service[1]) == 3
    code, out, _ = shell("calls", "log.refold", "-p", "p.py", "--json")
    rows = _rows(out)
    fields = {"offset", "key", "port", "operation", "kind", "decision", "request", "response"}
    assert all(fields <= row.keys() for row in rows)
    assert [(r["offset"], r["port"], r["decision"], r["response"]) for r in rows] == [
        (n, port, decision, said)
        for n in range(3)
        for port, decision, said in (("rates", "recorded", n + 1), ("mail", "suppressed", None))
    ]
    _, out, _ = shell(
        "calls", "log.refold", "-p", "p.py", "--decision", "suppressed", "--json", "--limit", "2"
    )
    assert [row["port"] for row in _rows(out)] == ["mail", "mail"]
    _, out, _ = shell("calls", "log.refold", "--json")
    assert [row["decision"] for row in _rows(out)] == ["live", "suppressed"] * 3
    _, out, _ = shell("calls", "log.refold", "-p", "p.py", "--at", "1")
    assert 'request: {"n":1}' in out
    assert "response: 2" in out
    _, out, _ = shell("state", "log.refold", "-p", "p.py", "--at", "1", "--json")
    assert _rows(out)[0]["state"] == {"rate": 2}
    assert len(service[1]) == 3


def test_a_refold_toml_without_consent_makes_no_calls(shell, service, folder):
    code, _, err = shell("record", "log.jsonl", "-p", "p.py")
    assert code == 3
    assert "ports.rates sends calls to http" in err
    assert "refold trust" in err
    assert service[1] == []
    shell("trust", "refold.toml")
    assert shell("record", "log.jsonl", "-p", "p.py")[0] == 0
    assert len(service[1]) == 3


def test_exported_calls_can_be_imported(shell, service, folder):
    shell("record", "log.jsonl", "-p", "p.py", "--config", "refold.toml")
    code, out, _ = shell("calls-export", "log.refold", "calls.jsonl", "--json")
    assert (code, json.loads(out)) == (0, {"calls": 6})
    assert shell("load", "log.jsonl", "-o", "other.refold")[0] == 0
    code, out, _ = shell("calls-import", "other.refold", "calls.jsonl", "--json")
    assert (code, json.loads(out)) == (0, {"calls": 6, "assigned": 6})
    _, mine, _ = shell("state", "log.refold", "-p", "p.py", "--json")
    _, other, _ = shell("state", "other.refold", "-p", "p.py", "--json")
    assert mine == other
    assert len(service[1]) == 3


def test_calls_assign_assigns_an_imported_call_to_an_event(shell, folder):
    shell("load", "log.jsonl")
    line = {"port": "rates", "operation": "rate", "request": {"n": 2}, "response": 7}
    (folder / "c.jsonl").write_text(json.dumps(line) + "\n")
    _, out, err = shell("calls-import", "log.refold", "c.jsonl", "--json")
    assert json.loads(out) == {"calls": 1, "assigned": 0}
    assert "1 call can't be matched to an event" in err
    assert shell("calls-assign", "log.refold", "0", "e2")[0] == 2
    assert shell("calls-assign", "log.refold", "5", "2")[0] == 2
    assert shell("calls-assign", "log.refold", "0", "id:e2")[0] == 0
    _, out, _ = shell("calls", "log.refold", "--json")
    assert _rows(out)[0]["offset"] == 2


def test_modes_of_a_replay(shell, service, folder):
    shell("record", "log.jsonl", "-p", "p.py", "--config", "refold.toml")
    code, out, _ = shell("replay", "log.refold", "-p", "p.py", "--mode", "sealed", "--json")
    assert (code, json.loads(out)["failures"]) == (0, 3)
    toml = (folder / "refold.toml").read_text()
    (folder / "w.toml").write_text(toml + '[[overrides]]\nport = "rates"\nrespond = 0\n')
    code, out, _ = shell(
        "replay", "log.refold", "-p", "p.py", "--mode", "what-if", "--config", "w.toml", "--json"
    )
    label = json.loads(out)["projection"]
    assert json.loads(out)["failures"] == 0
    _, out, _ = shell("state", "log.refold", "-p", label, "--json")
    assert _rows(out)[0]["state"] == {"rate": 0}
    _, out, _ = shell("state", "log.refold", "-p", "p.py", "--json")
    assert _rows(out)[0]["state"] == {"rate": 3}
    assert len(service[1]) == 3


def test_audit_exits_with_1_if_an_answer_changed(shell, service, folder):
    shell("record", "log.jsonl", "-p", "p.py", "--config", "refold.toml")
    code, out, _ = shell(
        "record", "log.refold", "-p", "p.py", "--config", "refold.toml", "--mode", "audit"
    )
    assert code == 1
    assert "1 → 4" in out


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("calls-import", "log.refold", "none.yaml"), 2, "does not exist"),
        (("calls-import", "log.refold", "bad.har"), 2, "is not a HAR file"),
        (("calls-export", "log.refold", "out.txt"), 2, "has no suffix of an export format"),
        (("calls", "log.refold", "--reads"), 2, "--reads needs a projection"),
        (("record", "log.refold", "-p", "cmd:cat"), 3, "can't record calls"),
        (("record", "log.refold", "-p", "p.py", "--config", "bad.toml"), 3, "invalid [ports"),
        (("record", "log.refold", "-p", "p.py", "--mode", "replay"), 2, "is not one of"),
        (("replay", "log.refold", "-p", "p.py", "--mode", "live"), 2, "is not one of"),
    ],
)
def test_an_error_is_one_sentence(shell, folder, command, code, said):
    shell("load", "log.jsonl")
    (folder / "bad.har").write_text("{}")
    (folder / "bad.toml").write_text('[ports.x]\nlife = "y"\n')
    if "cmd:cat" in command:
        shell("trust", "refold.toml")
    found, _, err = shell(*command)
    assert (found, said in err, "Traceback" in err) == (code, True, False), err
