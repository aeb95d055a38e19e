"""Live calls, one client per port. No other module of refold calls a service for a handler.

A query uses a mode that can't change anything if the protocol has one (a read-only transaction); a
command is sent once and not retried. HTTP requests are sent without conditional headers, because a
server would answer those with `304` and no body.
"""

import os
import re
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
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
from gateway.program_client import ProgramClient, shorten_body

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

    def interrupt(self) -> None:
        """End a running call soon if the protocol allows that; called from another thread."""

    def close(self) -> None: ...


class LiveClients:
    """The live clients of one run. `call` is safe from any thread."""

    def __init__(self, ports: PortSet, folder: Path) -> None:
        """Use the live ports among `ports`; their programs run in `folder`."""
        self._ports = ports
        self._folder = folder
        self._clients: dict[str, _Client] = {}
        self._running_calls: Counter[str] = Counter()
        """Number of running calls by the name of their client."""
        self._is_closed = False
        self._clients_lock = threading.Lock()

    def call(self, call: Call) -> Answer:
        """Make a call; return its failure as an answer. Raises `UndeclaredPortError`."""
        with self._clients_lock:
            if self._is_closed:
                return Answer.from_error(
                    "refold has closed its connections, so the call was not made",
                    AnswerOutcome.CANCELLED,
                )
            name = f"\0{call.port}" if call.is_http else call.port
            client = self._get_client(name, call)
            self._running_calls[name] += 1
        try:
            return self._make_call(client, call)
        finally:
            self._end_call(name, client)

    def _make_call(self, client: _Client, call: Call) -> Answer:
        started = time.monotonic()
        try:
            answer = client.call(call)
        except TimeoutError as error:
            answer = Answer.from_error(str(error) or "timed out", AnswerOutcome.TIMEOUT)
        except (OSError, ValueError, LookupError) as error:
            answer = Answer.from_error(f"{type(error).__name__}: {error}")
        return replace(answer, latency=time.monotonic() - started)

    def close(self) -> None:
        """Close every connection and program; one in use is closed when its call has ended.

        The call of a program or a database is ended; other calls end with their answer or timeout.
        """
        with self._clients_lock:
            self._is_closed = True
            busy = [name for name in self._clients if self._running_calls[name]]
            idle = [client for name, client in self._clients.items() if name not in busy]
        for client in idle:
            client.close()
        for name in busy:
            self._clients[name].interrupt()

    def _end_call(self, name: str, client: _Client) -> None:
        with self._clients_lock:
            self._running_calls[name] -= 1
            is_unused = self._is_closed and not self._running_calls[name]
        if is_unused:
            client.close()

    def _get_client(self, name: str, call: Call) -> _Client:
        port = self._ports.get_port(call.port)
        if name not in self._clients:
            # An HTTP call of the handler's own client has the URL.
            self._clients[name] = (
                _HttpClient(None, port) if call.is_http else self._make_client(call.port, port)
            )
        return self._clients[name]

    def _make_client(self, name: str, port: Port) -> _Client:
        if port.live is None:
            raise UndeclaredPortError(
                f"can't be made: the port {name} doesn't declare how to call it; add live = \"…\" to"
                f" [ports.{name}] in refold.toml"
            )
        if port.live.startswith("cmd:"):
            return ProgramClient(port.live[len("cmd:") :], port, self._folder)
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
                f"{response.status_code} {response.reason_phrase}: {shorten_body(body)}"
            )
        return _answer_from_text(body)

    def interrupt(self) -> None:
        """Do nothing: closing a connection doesn't end a read of another thread."""

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

    def interrupt(self) -> None:
        connection = self._connection
        if connection is not None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=1)

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

    def interrupt(self) -> None:
        """Do nothing: a mail that is being sent is sent."""

    def close(self) -> None:
        """Do nothing: each mail has its own connection."""


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
