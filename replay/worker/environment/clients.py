"""HTTP clients in handlers that never heard of refold: what they would send is asked of the gateway.

Seams are put once into the classes of `http.client` (under urllib.request), urllib3 (under requests
and botocore), httpx and aiohttp, when they are imported, and stay. Connections are replaced, so
that redirects, retries, cookies and streams are the client's own, as ever.
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
    """Put the seams into what is imported, and into what will be."""
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
    """Stands for a socket: takes a request, and has its answer to be read."""

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
            raise ConnectionError("the request is not whole")
        return io.BytesIO(_answer_request(self._calls, self._base_url, self._timeout, http_request))

    def settimeout(self, timeout: Any) -> None:
        self._timeout = timeout if isinstance(timeout, (int, float)) else None

    def gettimeout(self) -> Optional[float]:
        return self._timeout

    def setsockopt(self, *_: Any) -> None:
        """There is nothing to be set."""

    def shutdown(self, *_: Any) -> None:
        """There is nothing to be ended."""

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
    module.Retry.sleep = lambda *_a, **_n: None  # what is asked again was answered then


def _patch_httpx(calls: "CallDispatcher", module: Any) -> None:
    def replied(request: Any, body: bytes) -> Any:
        headers = list(request.headers.multi_items())
        limits = [s for s in request.extensions.get("timeout", {}).values() if s is not None]
        timeout = min(limits) if limits else None
        reply = calls.call_http(request.method, str(request.url), headers, body, timeout)
        if reply.outcome == "timeout":
            raise module.ReadTimeout(reply.error, request=request)
        if reply.outcome != "ok":
            named: Any = getattr(module, (reply.error or "").partition(":")[0], None)
            if not (isinstance(named, type) and issubclass(named, module.TransportError)):
                named = module.ConnectError
            raise named(reply.error, request=request)
        head = request.method == "HEAD"
        kept = reply.headers
        if not head:
            kept = [(n, v) for n, v in kept if n.lower() not in http_text.TRANSFER_HEADERS]
        stream = module.ByteStream(b"" if head else reply.body)
        return module.Response(reply.status, headers=kept, stream=stream, request=request)

    def handle_request(_: Any, request: Any) -> Any:
        return replied(request, request.read())

    async def handle_async_request(_: Any, request: Any) -> Any:
        return replied(request, await request.aread())

    module.HTTPTransport.handle_request = handle_request
    module.AsyncHTTPTransport.handle_async_request = handle_async_request


def _patch_aiohttp(calls: "CallDispatcher", module: Any) -> None:
    from .loop_transport import GatewayTransport  # noqa: PLC0415 - asyncio is there by now

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
    """The bytes of the answer to a request; raises what a connection would."""
    absolute = http_request.target.startswith(("http://", "https://"))  # as a proxy is asked
    url = http_request.target if absolute else base + http_request.target
    reply = calls.call_http(
        http_request.method, url, http_request.headers, http_request.body, timeout
    )
    if reply.outcome == "timeout":
        import socket  # noqa: PLC0415 - its own error before Python 3.10; a client has it by now

        raise socket.timeout(reply.error)
    if reply.outcome != "ok":
        raise _connection_error_type(reply.error or "")(reply.error)
    text: bytes = http_text.format_response(
        reply.status or 200, reply.headers, reply.body, http_request.method
    )
    return text


def _connection_error_type(error: str) -> type:
    """What a connection raises that ended so, by what the client that recorded it said."""
    if error.startswith("ConnectError"):
        return ConnectionRefusedError
    return ConnectionResetError if error.startswith(("Read", "Remote")) else ConnectionError


def _format_authority(scheme: str, host: Optional[str], port: Optional[int]) -> str:
    host = f"[{host}]" if host and ":" in host else host or ""
    return host if port in (None, {"http": 80, "https": 443}.get(scheme)) else f"{host}:{port}"
