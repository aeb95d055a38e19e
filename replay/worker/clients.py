"""HTTP clients in handlers that never heard of refold: what they would send is asked of the gateway.

Seams are put once into the classes of `http.client` (under urllib.request), urllib3 (under requests
and botocore), httpx and aiohttp, when they are imported, and stay. Connections are replaced, so
that redirects, retries, cookies and streams are the client's own, as ever.
"""

from __future__ import annotations

import importlib.abc
import io
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

from refold_worker import http_text

if TYPE_CHECKING:
    from refold_worker.calls import Calls


def intercept(calls: "Calls") -> None:
    """Put the seams into what is imported, and into what will be."""
    seams: Dict[str, Callable[[Any], None]] = {
        "http.client": lambda module: _http_client(module, calls),
        "urllib3.connection": lambda module: _urllib3(module, calls),
        "urllib3.util.retry": _retry,
        "httpx": lambda module: _httpx(module, calls),
        "aiohttp.connector": lambda module: _aiohttp(module, calls),
    }
    sys.meta_path.insert(0, _Finder(seams))
    for name in list(seams):
        module = sys.modules.get(name)
        if module is not None:
            seams.pop(name)(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the others find, and has a seam put in after the module is loaded."""

    def __init__(self, seams: Dict[str, Callable[[Any], None]]) -> None:
        self._seams = seams

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self._seams:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._wrap(spec.loader, self._seams.pop(name))
                return spec
        return None

    def _wrap(self, loader: Any, seam: Callable[[Any], None]) -> None:
        load = loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            seam(module)

        loader.exec_module = exec_module


class _Wire(io.RawIOBase):
    """Stands for a socket: takes a request, and has its answer to be read."""

    def __init__(self, calls: "Calls", scheme: str, host: str, port: int) -> None:
        super().__init__()
        self._calls = calls
        self._base = f"{scheme}://{_place(scheme, host, port)}"
        self._sent = bytearray()

    def sendall(self, data: Any) -> None:
        self._sent += bytes(data)

    def send(self, data: Any) -> int:
        self._sent += bytes(data)
        return len(data)

    def makefile(self, *_: Any, **__: Any) -> Any:
        asked = http_text.request(bytes(self._sent))
        self._sent.clear()
        if asked is None:
            raise ConnectionError("the request is not whole")
        return io.BytesIO(_answered(self._calls, self._base, asked))

    def settimeout(self, _: Any) -> None:
        """Nobody waits."""

    def gettimeout(self) -> None:
        """None: as long as it takes."""

    def setsockopt(self, *_: Any) -> None:
        """There is nothing to be set."""

    def shutdown(self, *_: Any) -> None:
        """There is nothing to be ended."""

    def getpeercert(self, *_: Any) -> Any:
        return {}

    def version(self) -> str:
        return "TLSv1.3"


def _http_client(module: Any, calls: "Calls") -> None:
    def connect(connection: Any) -> None:
        connection.sock = _wire(connection, calls)

    module.HTTPConnection.connect = connect
    if hasattr(module, "HTTPSConnection"):
        module.HTTPSConnection.connect = connect


def _urllib3(module: Any, calls: "Calls") -> None:
    def connect(connection: Any) -> None:
        connection.sock = _wire(connection, calls)
        connection.is_verified = True
        if getattr(connection, "proxy", None) is not None:
            connection.proxy_is_verified = True

    for name in ("HTTPConnection", "HTTPSConnection", "VerifiedHTTPSConnection"):
        kind = getattr(module, name, None)
        if kind is not None and "connect" in vars(kind):
            kind.connect = connect


def _wire(connection: Any, calls: "Calls") -> _Wire:
    tunnel = getattr(connection, "_tunnel_host", None)
    secure = tunnel or connection.default_port == 443
    host = tunnel or connection.host
    port = (tunnel and connection._tunnel_port) or connection.port
    return _Wire(calls, "https" if secure else "http", host, port)


def _retry(module: Any) -> None:
    module.Retry.sleep = lambda *_a, **_n: None  # what is asked again was answered then


def _httpx(module: Any, calls: "Calls") -> None:
    def replied(request: Any, body: bytes) -> Any:
        headers = list(request.headers.multi_items())
        reply = calls.http(request.method, str(request.url), headers, body)
        if reply.outcome == "timeout":
            raise module.ReadTimeout(reply.error, request=request)
        if reply.outcome != "ok":
            raise module.ConnectError(reply.error or "failed", request=request)
        kept = [
            (n, v)
            for n, v in reply.headers
            if n.lower() not in ("content-encoding", "transfer-encoding", "content-length")
        ]
        content = b"" if request.method == "HEAD" else reply.body
        return module.Response(reply.status, headers=kept, content=content, request=request)

    def handle_request(_: Any, request: Any) -> Any:
        return replied(request, request.read())

    async def handle_async_request(_: Any, request: Any) -> Any:
        return replied(request, await request.aread())

    module.HTTPTransport.handle_request = handle_request
    module.AsyncHTTPTransport.handle_async_request = handle_async_request


def _aiohttp(module: Any, calls: "Calls") -> None:
    from refold_worker.loop_transport import Transport  # noqa: PLC0415 - asyncio is there by now

    async def create(connector: Any, request: Any, *_: Any) -> Any:
        url = request.url
        base = f"{url.scheme}://{_place(url.scheme, url.host, url.port)}"
        protocol = connector._factory()
        protocol.connection_made(Transport(partial(_answered, calls, base), protocol))
        return protocol

    for name in ("BaseConnector", "TCPConnector", "UnixConnector", "NamedPipeConnector"):
        kind = getattr(module, name, None)
        if kind is not None and "_create_connection" in vars(kind):
            kind._create_connection = create


def _answered(calls: "Calls", base: str, asked: http_text.Request) -> bytes:
    """The bytes of the answer to a request; raises what a connection would."""
    absolute = asked.target.startswith(("http://", "https://"))  # as a proxy is asked
    url = asked.target if absolute else base + asked.target
    reply = calls.http(asked.method, url, asked.headers, asked.body)
    if reply.outcome == "timeout":
        raise socket.timeout(reply.error)
    if reply.outcome != "ok":
        raise ConnectionError(reply.error)
    text: bytes = http_text.answer(reply.status or 200, reply.headers, reply.body, asked.method)
    return text


def _place(scheme: str, host: Optional[str], port: Optional[int]) -> str:
    host = f"[{host}]" if host and ":" in host else host or ""
    return host if port in (None, {"http": 80, "https": 443}.get(scheme)) else f"{host}:{port}"
