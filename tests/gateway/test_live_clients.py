"""Live ports other than HTTP, against real services: PostgreSQL, SMTP, a program of the user."""

import socketserver
import sys
import threading
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.gateway_caller import Caller
from tests.support.servers import needs_postgres


@pytest.fixture
def postgres(tmp_path: Path):
    """A PostgreSQL server for the tests, on a socket in a temporary folder."""
    import psycopg

    with servers.postgres(tmp_path) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE rates (pair text, rate numeric(10, 4), at timestamptz)"
            )
            connection.execute("INSERT INTO rates VALUES ('EURUSD', 1.08, '2025-01-01T00:00Z')")
        yield url


@needs_postgres
def test_a_query_runs_read_only_and_a_command_only_if_its_port_is_named(caller: Caller, postgres):
    import psycopg

    caller.ports = {
        "db": {
            "live": postgres,
            "commands": ["set"],
            "operations": {
                "rate": "SELECT pair, rate, at FROM rates WHERE pair = %(pair)s",
                "set": "UPDATE rates SET rate = rate + 1 WHERE pair = %(pair)s",
                "sneak": "UPDATE rates SET rate = 0",
                "slow": "SELECT pg_sleep(20)",
            },
            "timeout": 2,
        }
    }
    caller.events(("a", "T", {}), ("a", "T", {}))
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["set"] = gateway.command("db", "set", {"pair": "EURUSD"})
            state["rate"] = gateway.query("db", "rate", {"pair": "EURUSD"})
            for operation in ("sneak", "slow", "unknown"):
                try:
                    gateway.query("db", operation)
                except gateway.Timeout:
                    state[operation] = "timeout"
                except gateway.Failed as error:
                    state[operation] = str(error).partition(":")[0]
        """,
    )
    made = caller.record(send=("db",))
    assert (made.error_count, made.suppressed_count) == (6, 0)
    assert "has no statement for unknown" in made.first_missed
    with psycopg.connect(postgres) as connection:
        assert str(connection.execute("SELECT rate FROM rates").fetchone()[0]) == "3.0800"
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["set"] = gateway.command("db", "set", {"pair": "EURUSD"})
            state["rate"] = gateway.query("db", "rate", {"pair": "EURUSD"})[0]["rate"]
            try:
                gateway.query("db", "sneak")
            except gateway.Failed as error:
                state["sneak"] = str(error).partition(":")[0]
        """,
    )
    states = caller.states(caller.replay())
    assert [(s["rate"], s["set"], s["sneak"]) for s in states] == [
        ("2.0800", {"rows": 1}, "ReadOnlySqlTransaction"),
        ("3.0800", {"rows": 1}, "ReadOnlySqlTransaction"),
    ]


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 fake\r\n")
        text, in_data = [], False
        for line in self.rfile:
            if in_data:
                if line == b".\r\n":
                    self.server.mails.append(b"".join(text).decode())
                    in_data = False
                    self.wfile.write(b"250 kept\r\n")
                else:
                    text.append(line)
            elif line[:4].upper() == b"DATA":
                in_data = True
                self.wfile.write(b"354 go on\r\n")
            elif line[:4].upper() == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")


def test_mails_are_sent_once_and_only_to_named_ports(caller: Caller):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.mails = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        caller.ports = {"mail": {"live": f"smtp://127.0.0.1:{server.server_address[1]}"}}
        caller.events(("a", "T", {"to": "ann@example.org"}))
        caller.file(
            "p.py",
            """
            def apply(state, event, gateway):
                mail = {"to": event.data["to"], "subject": "Hello", "body": "It is paid."}
                state["sent"] = gateway.command("mail", "send", mail)
            """,
        )
        caller.record()
        assert server.mails == []
        caller.record(send=("mail",))
        [mail] = server.mails
        assert "To: ann@example.org" in mail
        assert "It is paid." in mail
        for _ in range(2):
            [state] = caller.states(caller.replay(force=True))
            assert state == {"sent": {"accepted": True, "refused": []}}
        assert len(server.mails) == 1
        server.shutdown()


def test_a_program_of_the_user_serves_a_port(caller: Caller):
    caller.file(
        "fx.py",
        """
        import json, sys
        for line in sys.stdin:
            call = json.loads(line)
            if call["operation"] == "die":
                sys.exit(3)
            if call["operation"] == "bad":
                print("hello", flush=True)
            elif call["operation"] == "no":
                print(json.dumps({"error": "not today"}), flush=True)
            else:
                print(json.dumps({"response": [call["kind"], call["request"]]}), flush=True)
        """,
    )
    caller.ports = {"fx": {"live": f"cmd:{sys.executable} fx.py", "timeout": 5}}
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["rate"] = gateway.query("fx", "rate", {"a": 1})
            for operation in ("no", "bad", "die", "rate"):
                try:
                    state[operation] = gateway.query("fx", operation, 5)
                except gateway.Failed as error:
                    state[operation] = str(error)
        """,
    )
    made = caller.record()
    assert made.error_count == 3
    [state] = caller.states(caller.replay())
    assert state["rate"] == ["query", 5]
    assert state["no"] == "not today"
    assert "wrote invalid JSON: hello" in state["bad"]
    assert "ended before it answered" in state["die"]
