"""Live calls, one client per port. No other module of refold calls a service for a handler.

A query uses a mode that can't change anything if the protocol has one (a read-only transaction); a
command is sent once and not retried. HTTP requests are sent without conditional headers, because a
server would answer those with `304` and no body.
"""

import os
import re
import shlex
import smtplib
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import psycopg
from psycopg.rows import dict_row

from gateway.calls import Answer, AnswerOutcome, Call, CallKind
from gateway.http_encoding import TRANSFER_HEADERS
from gateway.ports import Port, PortSet, UndeclaredPortError

_CONDITIONAL_HEADERS = (
    "if-none-match",
    "if-modified-since",
    "if-match",
    "if-unmodified-since",
    "if-range",
)
_CONNECTION_HEADERS = (
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "te",
)
_PATH_ARGUMENT = re.compile(r"\{(\w+)\}")


class _Client(Protocol):
    def call(self, call: Call) -> Answer: ...

    def close(self) -> None: ...


class LiveClients:
    """The live clients of one run. `call` is safe from any thread."""

    def __init__(self, ports: PortSet, folder: Path) -> None:
        """Use the live ports among `ports`; their programs run in `folder`."""
        self._ports = ports
        self._folder = folder
        self._clients: dict[str, _Client] = {}
        self._clients_lock = threading.Lock()

    def call(self, call: Call) -> Answer:
        """Make a call; return its failure as an answer. Raises `UndeclaredPortError`."""
        client = self._get_client(call)
        started = time.monotonic()
        try:
            answer = client.call(call)
        except TimeoutError as error:
            answer = Answer.from_error(str(error) or "timed out", AnswerOutcome.TIMEOUT)
        except (OSError, ValueError, LookupError) as error:
            answer = Answer.from_error(f"{type(error).__name__}: {error}")
        return replace(answer, latency=time.monotonic() - started)

    def close(self) -> None:
        """Close every connection and program."""
        for client in self._clients.values():
            client.close()

    def _get_client(self, call: Call) -> _Client:
        port = self._ports.get_port(call.port)
        is_http = call.is_http  # the handler's own HTTP client has the URL
        name = f"\0{call.port}" if is_http else call.port
        with self._clients_lock:
            if name not in self._clients:
                self._clients[name] = (
                    _HttpClient(None, port) if is_http else self._make_client(call.port, port)
                )
            return self._clients[name]

    def _make_client(self, name: str, port: Port) -> _Client:
        if port.live is None:
            raise UndeclaredPortError(
                f"can't be made: the port {name} doesn't declare how to call it; add live = \"…\" to"
                f" [ports.{name}] in refold.toml"
            )
        if port.live.startswith("cmd:"):
            return _ProgramClient(port.live[len("cmd:") :], port, self._folder)
        scheme = urlsplit(port.live).scheme
        if scheme in ("http", "https"):
            return _HttpClient(port.live, port)
        if scheme in ("postgresql", "postgres"):
            return _PostgresClient(port)
        if scheme == "smtp":
            return _MailClient(port)
        raise UndeclaredPortError(
            f"can't be made: the port {name} has live = {port.live!r}, which must begin with http:, https:,"
            " postgresql:, smtp: or cmd:"
        )


class _HttpClient:
    """A service over HTTP, called with a handler's own request or as the port declares."""

    def __init__(self, base_url: str | None, port: Port) -> None:
        self._base_url = base_url
        self._port = port
        self._client = httpx.Client(
            timeout=port.timeout, follow_redirects=base_url is not None, trust_env=True
        )

    def call(self, call: Call) -> Answer:
        request = (
            self._build_handler_request(call)
            if self._base_url is None
            else self._build_declared_request(call)
        )
        if call.timeout_seconds is not None:
            limit = min(call.timeout_seconds, self._port.timeout)
            request.extensions["timeout"] = httpx.Timeout(limit).as_dict()
        try:
            response = self._client.send(request, stream=True)
            try:
                body = self._read_body(response)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            reason = str(error) or f"no answer within {self._port.timeout:g} s"
            return Answer.from_error(reason, AnswerOutcome.TIMEOUT)
        except (httpx.HTTPError, httpx.InvalidURL, _TooLargeError) as error:
            return Answer.from_error(f"{type(error).__name__.strip('_')}: {error}")
        dropped_headers = () if request.method == "HEAD" else TRANSFER_HEADERS
        headers = [(n, v) for n, v in response.headers.multi_items() if n not in dropped_headers]
        if self._base_url is None:
            media = response.headers.get("content-type", "application/octet-stream")
            return Answer(AnswerOutcome.OK, response.status_code, headers, body, media)
        if response.is_error:
            return Answer.from_error(
                f"{response.status_code} {response.reason_phrase}: {_shorten_text(body)}"
            )
        return _answer_from_text(body)

    def close(self) -> None:
        self._client.close()

    def _build_handler_request(self, call: Call) -> httpx.Request:
        dropped_headers = (*_CONDITIONAL_HEADERS, *_CONNECTION_HEADERS)
        headers = [(n, v) for n, v in call.headers if n.lower() not in dropped_headers]
        request = call.request
        return self._client.build_request(
            request["method"], call.sent_url, headers=headers, content=call.body or None
        )

    def _build_declared_request(self, call: Call) -> httpx.Request:
        template = self._port.operations.get(call.operation)
        method, _, path = (template or f"{_default_method(call)} /{call.operation}").partition(" ")
        arguments = dict(call.request) if isinstance(call.request, Mapping) else {}
        for name in _PATH_ARGUMENT.findall(path):
            value = arguments.pop(name)
            path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
        headers = {n: _expand_variables(v) for n, v in self._port.headers.items()}
        url = f"{str(self._base_url).rstrip('/')}/{path.lstrip('/')}"
        if method in ("GET", "HEAD", "DELETE"):
            flat = {
                n: v if isinstance(v, (str, int, float)) else _encode_json(v)
                for n, v in arguments.items()
            }
            return self._client.build_request(method, url, params=flat or None, headers=headers)
        sent = arguments if isinstance(call.request, Mapping) else call.request
        return self._client.build_request(method, url, json=sent, headers=headers)

    def _read_body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._port.most:
                raise _TooLargeError(f"the answer has more than {self._port.most:,} bytes")
        return bytes(body)


class _TooLargeError(Exception):
    pass


class _PostgresClient:
    """PostgreSQL statements with `%(name)s` for members of the request; returns rows as objects."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def call(self, call: Call) -> Answer:
        statement = self._port.operations.get(call.operation)
        if statement is None:
            raise UndeclaredPortError(
                f"can't be made: the port {call.port} has no statement for {call.operation}; add it to"
                f" [ports.{call.port}.operations] in refold.toml"
            )
        with self._lock:
            try:
                return Answer.from_value(self._fetch_rows(call, statement))
            except psycopg.errors.QueryCanceled as error:
                return Answer.from_error(str(error).strip(), AnswerOutcome.TIMEOUT)
            except psycopg.Error as error:
                self.close()
                return Answer.from_error(f"{type(error).__name__}: {str(error).strip()}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _fetch_rows(self, call: Call, statement: str) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                str(self._port.live),
                row_factory=dict_row,
                connect_timeout=max(2, int(self._port.timeout)),
            )
        connection = self._connection
        with connection.transaction():
            limit = int(self._port.timeout * 1000)
            connection.execute("SELECT set_config('statement_timeout', %s, true)", [str(limit)])
            if call.kind is CallKind.QUERY:
                connection.execute("SET TRANSACTION READ ONLY")
            arguments = call.request if isinstance(call.request, Mapping) else {}
            cursor = connection.execute(statement.encode(), arguments)
            if cursor.description is None:
                return {"rows": cursor.rowcount}
            rows: list[dict[str, Any]] = []
            size = 0
            for row in cursor:
                rows.append(row)
                size += len(_encode_json(row))
                if size > self._port.most:
                    raise ValueError(f"the answer has more than {self._port.most:,} bytes")
            return msgspec.to_builtins(rows, enc_hook=str)


class _MailClient:
    """Mails; the request has `to`, and optionally `subject`, `body`, `from` and `headers`."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def call(self, call: Call) -> Answer:
        request = call.request if isinstance(call.request, Mapping) else {}
        if not request.get("to"):
            return Answer.from_error("the request has no `to`, so the mail has no recipient")
        message = EmailMessage()
        for name, value in dict(request.get("headers") or {}).items():
            message[name] = str(value)
        message["To"] = (
            ", ".join(request["to"]) if isinstance(request["to"], list) else str(request["to"])
        )
        message["From"] = str(request.get("from") or "refold@localhost")
        message["Subject"] = str(request.get("subject") or call.operation)
        body = request.get("body")
        if body is None:
            body = _encode_json(
                {n: v for n, v in request.items() if n not in ("to", "from", "subject", "headers")}
            )
        message.set_content(body if isinstance(body, str) else _encode_json(body))
        server_url = urlsplit(str(self._port.live))
        with smtplib.SMTP(
            server_url.hostname or "localhost", server_url.port or 25, timeout=self._port.timeout
        ) as server:
            if server_url.username:
                server.login(server_url.username, server_url.password or "")
            refused = server.send_message(message)
        return Answer.from_value({"accepted": True, "refused": sorted(refused)})

    def close(self) -> None:
        """Do nothing: each mail has its own connection."""


class _ProgramClient:
    """A program of the user's that reads a JSON line per call and writes one per answer."""

    def __init__(self, command: str, port: Port, folder: Path) -> None:
        self._command = shlex.split(command)
        self._port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def call(self, call: Call) -> Answer:
        line_content = {
            "kind": call.kind.value,
            "port": call.port,
            "operation": call.operation,
            "request": call.request,
        }
        with self._lock:
            process = self._ensure_process()
            kill_timer = threading.Timer(self._port.timeout, process.kill)
            kill_timer.start()
            try:
                assert process.stdin is not None  # noqa: S101 - Popen opened a pipe
                assert process.stdout is not None  # noqa: S101 - as above
                process.stdin.write(msgspec.json.encode(line_content) + b"\n")
                process.stdin.flush()
                line = process.stdout.readline(self._port.most)
            except OSError as error:
                line, reason = b"", str(error)
            else:
                reason = "the program ended before it answered"
            is_timed_out = not kill_timer.is_alive()
            kill_timer.cancel()
        if not line.endswith(b"\n"):
            self.close()
            if is_timed_out:
                return Answer.from_error(
                    f"no answer within {self._port.timeout:g} s", AnswerOutcome.TIMEOUT
                )
            return Answer.from_error(f"{self._command[0]}: {reason}")
        try:
            answer = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            return Answer.from_error(
                f"{self._command[0]} wrote invalid JSON: {_shorten_text(line)}"
            )
        if isinstance(answer, dict) and "error" in answer:
            return Answer.from_error(str(answer["error"]))
        return Answer.from_value(
            answer["response"] if isinstance(answer, dict) and "response" in answer else answer
        )

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ensure_process(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._folder
            )
        return self._process


def _expand_variables(text: str) -> str:
    """Replace environment variables in a text; raises `UndeclaredPortError` if one isn't set."""
    for name in re.findall(r"\$\{?(\w+)", text):
        if name not in os.environ:
            raise UndeclaredPortError(
                f"needs the environment variable {name}, which isn't set; set it and run again"
            )
    return os.path.expandvars(text)


def _answer_from_text(body: bytes) -> Answer:
    """Return a body as an answer: its JSON value, or its text if it isn't JSON."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return Answer.from_value(body.decode("utf-8", "replace"))
    return Answer(body=body)


def _default_method(call: Call) -> str:
    return "GET" if call.kind is CallKind.QUERY else "POST"


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _shorten_text(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return text if len(text) <= 200 else text[:199] + "…"
