"""Routes the requests of HTTP clients in handlers through the gateway.

It patches the classes of `http.client` (used by urllib.request), urllib3 (used by requests and
botocore), httpx and aiohttp when they are imported. It replaces only their connections; redirects,
retries, cookies and streams remain the client's own code.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any, Optional

from . import http_text
from .import_hooks import patch_when_imported

if TYPE_CHECKING:
    from .calls import CallDispatcher


def intercept_clients(calls: "CallDispatcher") -> None:
    """Patch the HTTP clients that are imported, now or later."""
    patch_when_imported(
        {
            "http.client": partial(_patch_http_client, calls),
            "urllib3.connection": partial(_patch_urllib3, calls),
            "urllib3.util.retry": _patch_retry,
            "httpx": partial(_patch_httpx, calls),
            "aiohttp.connector": partial(_patch_aiohttp, calls),
        }
    )


class _FakeSocket(io.RawIOBase):
    """Stands for a socket: collects a request and returns its answer to be read."""

    def __init__(self, calls: "CallDispatcher", scheme: str, host: str, port: int) -> None:
        super().__init__()
        self._calls = calls
        self._base_url = f"{scheme}://{_format_authority(scheme, host, port)}"
        self._sent = bytearray()
        self._timeout: Optional[float] = None

    def sendall(self, data: Any) -> None:
        self._sent += bytes(data)

    def send(self, data: Any) -> int:
        self._sent += bytes(data)
        return len(data)

    def makefile(self, *_: Any, **__: Any) -> Any:
        http_request = http_text.parse_request(bytes(self._sent))
        self._sent.clear()
        if http_request is None:
            raise ConnectionError("the request is incomplete")
        return io.BytesIO(_answer_request(self._calls, self._base_url, self._timeout, http_request))

    def settimeout(self, timeout: Any) -> None:
        self._timeout = timeout if isinstance(timeout, (int, float)) else None

    def gettimeout(self) -> Optional[float]:
        return self._timeout

    def setsockopt(self, *_: Any) -> None:
        """Do nothing: there is no socket."""

    def shutdown(self, *_: Any) -> None:
        """Do nothing: there is no connection."""

    def getpeercert(self, *_: Any) -> Any:
        return {}

    def version(self) -> str:
        return "TLSv1.3"


def _patch_http_client(calls: "CallDispatcher", module: Any) -> None:
    def connect(connection: Any) -> None:
        connection.sock = _build_fake_socket(connection, calls)

    module.HTTPConnection.connect = connect
    if hasattr(module, "HTTPSConnection"):
        module.HTTPSConnection.connect = connect


def _patch_urllib3(calls: "CallDispatcher", module: Any) -> None:
    def connect(connection: Any) -> None:
        connection.sock = _build_fake_socket(connection, calls)
        connection.is_verified = True
        if getattr(connection, "proxy", None) is not None:
            connection.proxy_is_verified = True

    for name in ("HTTPConnection", "HTTPSConnection", "VerifiedHTTPSConnection"):
        kind = getattr(module, name, None)
        if kind is not None and "connect" in vars(kind):
            kind.connect = connect


def _build_fake_socket(connection: Any, calls: "CallDispatcher") -> _FakeSocket:
    tunnel = getattr(connection, "_tunnel_host", None)
    is_secure = tunnel or connection.default_port == 443
    host = tunnel or connection.host
    port = (tunnel and connection._tunnel_port) or connection.port
    wire = _FakeSocket(calls, "https" if is_secure else "http", host, port)
    wire.settimeout(connection.timeout)
    return wire


def _patch_retry(module: Any) -> None:
    module.Retry.sleep = lambda *_a, **_n: None  # recorded answers need no wait


def _patch_httpx(calls: "CallDispatcher", module: Any) -> None:
    def answer(request: Any, body: bytes) -> Any:
        headers = list(request.headers.multi_items())
        limits = [s for s in request.extensions.get("timeout", {}).values() if s is not None]
        timeout = min(limits) if limits else None
        reply = calls.call_http(request.method, str(request.url), headers, body, timeout)
        if reply.outcome == "timeout":
            raise module.ReadTimeout(reply.error, request=request)
        if reply.outcome != "ok":
            error_type: Any = getattr(module, (reply.error or "").partition(":")[0], None)
            if not (isinstance(error_type, type) and issubclass(error_type, module.TransportError)):
                error_type = module.ConnectError
            raise error_type(reply.error, request=request)
        is_head = request.method == "HEAD"
        headers = reply.headers
        if not is_head:
            headers = [(n, v) for n, v in headers if n.lower() not in http_text.TRANSFER_HEADERS]
        stream = module.ByteStream(b"" if is_head else reply.body)
        return module.Response(reply.status, headers=headers, stream=stream, request=request)

    def handle_request(_: Any, request: Any) -> Any:
        return answer(request, request.read())

    async def handle_async_request(_: Any, request: Any) -> Any:
        return answer(request, await request.aread())

    module.HTTPTransport.handle_request = handle_request
    module.AsyncHTTPTransport.handle_async_request = handle_async_request


def _patch_aiohttp(calls: "CallDispatcher", module: Any) -> None:
    from .loop_transport import GatewayTransport  # noqa: PLC0415 - aiohttp has imported asyncio by now

    async def create(connector: Any, request: Any, _: Any, limits: Any = None) -> Any:
        url = request.url
        waits = [getattr(limits, name, None) for name in ("total", "sock_read", "sock_connect")]
        timeout = min((s for s in waits if s), default=None)
        base = f"{url.scheme}://{_format_authority(url.scheme, url.host, url.port)}"
        protocol = connector._factory()
        protocol.connection_made(
            GatewayTransport(partial(_answer_request, calls, base, timeout), protocol)
        )
        return protocol

    for name in ("BaseConnector", "TCPConnector", "UnixConnector", "NamedPipeConnector"):
        kind = getattr(module, name, None)
        if kind is not None and "_create_connection" in vars(kind):
            kind._create_connection = create


def _answer_request(
    calls: "CallDispatcher",
    base: str,
    timeout: Optional[float],
    http_request: http_text.HttpRequest,
) -> bytes:
    """Return the bytes of the answer to a request; raises what a connection would raise."""
    is_absolute = http_request.target.startswith(("http://", "https://"))  # to a proxy
    url = http_request.target if is_absolute else base + http_request.target
    reply = calls.call_http(
        http_request.method, url, http_request.headers, http_request.body, timeout
    )
    if reply.outcome == "timeout":
        import socket  # noqa: PLC0415 - a client has imported it; a separate error before Python 3.10

        raise socket.timeout(reply.error)
    if reply.outcome != "ok":
        raise _connection_error_type(reply.error or "")(reply.error)
    text: bytes = http_text.format_response(
        reply.status or 200, reply.headers, reply.body, http_request.method
    )
    return text


def _connection_error_type(error: str) -> type:
    """Return the error type of a failed connection, by the recorded client's error text."""
    if error.startswith("ConnectError"):
        return ConnectionRefusedError
    return ConnectionResetError if error.startswith(("Read", "Remote")) else ConnectionError


def _format_authority(scheme: str, host: Optional[str], port: Optional[int]) -> str:
    host = f"[{host}]" if host and ":" in host else host or ""
    return host if port in (None, {"http": 80, "https": 443}.get(scheme)) else f"{host}:{port}"
