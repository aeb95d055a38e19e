"""Links: sources that are no files, `postgresql://HOST/DB?table=T`, `sqlite:FILE?table=T`, `kafka://HOST/TOPIC`.

What a link says to the server and what it says to refold are told apart here, and no secret of it is
ever written or shown.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from storage.errors import SourceError

SCHEMES = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "sqlite": "sqlite",
    "duckdb": "duckdb",
    "kafka": "kafka",
}
"""By what a link begins with, the kind of source."""
_WITH_LOGIN = re.compile(r"://[^/@&]*@")
_SECRET = ("password", "sslpassword", "passfile", "sslkey", "config")


@dataclass(frozen=True)
class Link:
    """A link taken apart."""

    kind: str
    place: str
    """What the library that opens it is given: a URL, or a file's path."""
    wishes: dict[str, str]
    """What is meant for refold, such as `table`."""
    public: str
    """The link as it may be shown and kept."""


def is_link(name: str) -> bool:
    return scheme(name) is not None


def scheme(name: str) -> str | None:
    """The kind of source that a link names; None for what is a file's name."""
    begun, colon, rest = name.partition(":")
    kind = SCHEMES.get(begun.lower())
    if not colon or kind is None or not rest:
        return None
    return kind if rest.startswith("//") or kind in ("sqlite", "duckdb") else None


def read(name: str, own: tuple[str, ...]) -> Link:
    """Take a link apart; `own` are the parameters that are refold's.

    Raises `SourceError` where it could be taken apart in more than one way.
    """
    kind = scheme(name)
    if kind in ("sqlite", "duckdb"):
        path, _, query = name.partition(":")[2].partition("?")
        return Link(kind, _resolved(path), dict(_pairs(query)), public(name))
    _refuse_a_bare_login(name, kind)
    try:
        parts = urlsplit(name)
    except ValueError as error:
        raise SourceError(f"{public(name)} is no link: {error}.") from error
    wishes = {k: v for k, v in _pairs(parts.query) if k in own}
    others = [(k, v) for k, v in _pairs(parts.query) if k not in own]
    # libpq reads %20, and no plus.
    said = urlencode(others, quote_via=quote)
    place = f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{said}" if said else "")
    return Link(kind or "", place, wishes, public(name))


def public(name: str) -> str:
    """A link without its secrets; any other name as it is."""
    kind = scheme(name)
    if kind is None:
        return name
    place, _, query = name.partition(":")[2].partition("?")
    if kind in ("sqlite", "duckdb"):
        said = urlencode(sorted(_pairs(query)))
        return f"{kind}:{_resolved(place)}" + (f"?{said}" if said else "")
    pairs = _pairs(query)
    if any("@" in name for name, _ in pairs):
        return f"{kind}://…"
    said = urlencode(sorted((k, v) for k, v in pairs if k.lower() not in _SECRET), safe="/,:@")
    # Whatever stands before the last @ may be of a password.
    shown = f"{kind}://{place.removeprefix('//').rpartition('@')[2]}"
    return shown + (f"?{_WITH_LOGIN.sub('://', said)}" if said else "")


def _resolved(path: str) -> str:
    return str(Path("/" + path.lstrip("/") if path.startswith("//") else path).resolve())


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _refuse_a_bare_login(name: str, kind: str | None) -> None:
    """A password that isn't quoted could end up in a host's name, and be shown by whoever looks for it."""
    place, _, query = name.partition("://")[2].partition("?")
    login = place.rpartition("@")[0]
    if set(login) & set("/#@") or any("@" in name for name, _ in _pairs(query)):
        raise SourceError(
            f"In the name or password of a {kind}:// link, @ is written as %40, / as %2F, ? as %3F"
            " and # as %23."
        )


def log_name(name: str) -> str:
    """What the log of a link is called."""
    link = read(name, ("table",))
    if "table" in link.wishes:
        return link.wishes["table"].rpartition(".")[2]
    if link.kind in ("sqlite", "duckdb"):
        return Path(link.place).stem
    return urlsplit(link.public).path.strip("/").replace("/", "-").replace(",", "-") or link.kind
