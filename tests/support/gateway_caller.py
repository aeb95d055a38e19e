"""A fake service that records its requests, and a studio whose projections call it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.modes import Mode
from gateway.ports import PortSet, parse_ports
from gateway.settings import GatewaySettings
from replay import call_recorder, fold
from replay.history import call_decisions
from replay.history.call_decisions import CallDecision
from replay.history.catalogue import FoldRecord
from replay.history.history import History
from storage.db.query import fetch_arrow
from tests.support.fold_options import build_fold_options
from tests.support.projection_studio import Studio


class Outside:
    """An HTTP service that answers each request with the next number, and records the requests."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Any = None
        """Answers instead if set: takes the request handler, returns whether it has answered."""
        outside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                outside.reached.append((self.command, self.path, dict(self.headers), body))
                if outside.answer is not None and outside.answer(self):
                    return
                self.say(200, {"n": len(outside.reached), "path": self.path})

            def say(self, status: int, value: Any, headers: Any = ()) -> None:
                text = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                for name, text_value in headers:
                    self.send_header(name, text_value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def count(self) -> int:
        return len(self.reached)


class Caller(Studio):
    """A studio whose projections call the service."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ports: dict[str, Any] = {}
        self.changed: list[call_recorder.ChangedAnswer] = []

    def settings(self, mode: Mode = Mode.REPLAY, **wished: Any) -> GatewaySettings:
        return GatewaySettings(mode, PortSet(parse_ports(self.ports, "refold.toml")), **wished)

    def record(
        self, text: str = "p.py", send: tuple[str, ...] = (), **wishes: Any
    ) -> call_recorder.RecordingRun:
        mode = wishes.pop("mode", Mode.RECORD)
        run, self.changed = call_recorder.record(
            self.workspace,
            self.refer(text),
            self.settings(mode, send=frozenset(send)),
            **wishes,
        )
        return run

    def replay(self, text: str = "p.py", mode: Mode = Mode.REPLAY, **wishes: Any) -> FoldRecord:
        fields = {n: wishes.pop(n) for n in ("overrides", "seed", "own_time") if n in wishes}
        reference = replace(self.refer(text), gateway_settings=self.settings(mode, **fields))
        return fold.fold_projection(self.workspace, reference, **build_fold_options(**wishes))

    def decided(self, folded: FoldRecord) -> list[CallDecision]:
        return list(call_decisions.read_fold_decisions(History(self.workspace, folded)))

    def states(self, folded: FoldRecord) -> list[Any]:
        return [state for _, _, state in self.changes(folded)]

    def everything(self) -> str:
        """Return the text of all rows of all tables."""
        lines = []
        with self.workspace.reading() as connection:
            tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            for (table,) in tables:
                lines += [
                    str(row) for row in fetch_arrow(connection, f'FROM "{table}"').to_pylist()
                ]
        return "\n".join(lines)


@pytest.fixture
def outside() -> Iterator[Outside]:
    service = Outside()
    yield service
    service.close()


@pytest.fixture
def caller(tmp_path: Path, outside: Outside) -> Caller:
    caller = Caller(tmp_path)
    caller.ports = {"fx": {"live": outside.url}}
    return caller


@pytest.fixture
def new_caller(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lambda: Caller(tmp_path_factory.mktemp("caller"))
