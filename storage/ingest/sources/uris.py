"""Links to sources: `postgresql://HOST/DB?table=T`, `sqlite:FILE?table=T`, `kafka://HOST/TOPIC`.

Separates the parameters for refold from those for the server. Secrets of a link are never stored or shown.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from storage.errors import SourceError

KIND_BY_SCHEME = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "sqlite": "sqlite",
    "duckdb": "duckdb",
    "kafka": "kafka",
}
"""The kind of source by the scheme of its link."""
_WITH_LOGIN = re.compile(r"://[^/@&]*@")
_SECRET_PARAMETERS = ("password", "sslpassword", "passfile", "sslkey", "config")


@dataclass(frozen=True)
class SourceUri:
    """A parsed link."""

    kind: str
    target: str
    """A URL or a file's path, for the library that opens the source; may contain secrets."""
    options: dict[str, str]
    """The parameters for refold, such as `table`."""
    public_uri: str
    """The link without secrets, for messages and for the workspace."""


def is_uri(name: str) -> bool:
    return source_kind(name) is not None


def source_kind(name: str) -> str | None:
    """Return the kind of source that a link names, or None for the name of a file."""
    begun, colon, rest = name.partition(":")
    kind = KIND_BY_SCHEME.get(begun.lower())
    if not colon or kind is None or not rest:
        return None
    return kind if rest.startswith("//") or kind in ("sqlite", "duckdb") else None


def parse_uri(name: str, option_names: tuple[str, ...]) -> SourceUri:
    """Parse a link; `option_names` are the parameters for refold.

    Raises `SourceError` if the link is invalid, or ambiguous because its login isn't percent-encoded.
    """
    kind = source_kind(name)
    if kind in ("sqlite", "duckdb"):
        path, _, query = name.partition(":")[2].partition("?")
        return SourceUri(kind, _resolve_path(path), dict(_parse_query(query)), redact_uri(name))
    _check_login_is_quoted(name, kind)
    try:
        parts = urlsplit(name)
    except ValueError as error:
        raise SourceError(f"{redact_uri(name)} is not a valid link: {error}.") from error
    options = {k: v for k, v in _parse_query(parts.query) if k in option_names}
    others = [(k, v) for k, v in _parse_query(parts.query) if k not in option_names]
    # libpq decodes %20, but not a plus sign, as a blank.
    query_text = urlencode(others, quote_via=quote)
    target = f"{parts.scheme}://{parts.netloc}{parts.path}" + (
        f"?{query_text}" if query_text else ""
    )
    return SourceUri(kind or "", target, options, redact_uri(name))


def redact_uri(name: str) -> str:
    """Return a link without its secrets; any other name unchanged."""
    kind = source_kind(name)
    if kind is None:
        return name
    location, _, query = name.partition(":")[2].partition("?")
    if kind in ("sqlite", "duckdb"):
        query_text = urlencode(sorted(_parse_query(query)))
        return f"{kind}:{_resolve_path(location)}" + (f"?{query_text}" if query_text else "")
    pairs = _parse_query(query)
    if any("@" in name for name, _ in pairs):
        return f"{kind}://…"
    query_text = urlencode(
        sorted((k, v) for k, v in pairs if k.lower() not in _SECRET_PARAMETERS), safe="/,:@"
    )
    # Everything before the last @ may belong to a password.
    shown = f"{kind}://{location.removeprefix('//').rpartition('@')[2]}"
    return shown + (f"?{_WITH_LOGIN.sub('://', query_text)}" if query_text else "")


def _resolve_path(path: str) -> str:
    return str(Path("/" + path.lstrip("/") if path.startswith("//") else path).resolve())


def _parse_query(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _check_login_is_quoted(name: str, kind: str | None) -> None:
    """Raise `SourceError` if the login isn't percent-encoded.

    Part of such a password could be taken for the host name and shown in an error of the resolver.
    """
    authority, _, query = name.partition("://")[2].partition("?")
    login = authority.rpartition("@")[0]
    if set(login) & set("/#@") or any("@" in name for name, _ in _parse_query(query)):
        raise SourceError(
            f"In the user name and password of a {kind}:// link, write @ as %40, / as %2F, ? as %3F"
            " and # as %23."
        )


def derive_log_name(name: str) -> str:
    """Return the default name of the log that a link leads to."""
    link = parse_uri(name, ("table",))
    if "table" in link.options:
        return link.options["table"].rpartition(".")[2]
    if link.kind in ("sqlite", "duckdb"):
        return Path(link.target).stem
    return (
        urlsplit(link.public_uri).path.strip("/").replace("/", "-").replace(",", "-") or link.kind
    )
