"""Links: sources that are no files, `postgresql://HOST/DB?table=T`, `sqlite:FILE?table=T`, `kafka://HOST/TOPIC`.

What a link says to the server and what it says to refold are told apart here, and no secret of it is
ever written or shown.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

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
    """Take a link apart; `own` are the parameters that are refold's."""
    kind = scheme(name)
    if kind in ("sqlite", "duckdb"):
        path, _, query = name.partition(":")[2].partition("?")
        place = str(Path("/" + path.lstrip("/") if path.startswith("//") else path).resolve())
        wishes = dict(parse_qsl(query, keep_blank_values=True))
        said = f"?{urlencode(sorted(wishes.items()))}" if wishes else ""
        return Link(kind, place, wishes, f"{kind}:{place}{said}")
    parts = urlsplit(name)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    wishes = {k: v for k, v in pairs if k in own}
    others = [(k, v) for k, v in pairs if k not in own]
    # libpq reads %20, and no plus.
    said = urlencode(others, quote_via=quote)
    place = f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{said}" if said else "")
    shown = sorted((k, v) for k, v in pairs if k.lower() not in _SECRET)
    # Whatever stands before the last @ may be of a password.
    place_shown = name.partition("://")[2].partition("?")[0].rpartition("@")[2]
    said_shown = _WITH_LOGIN.sub("://", urlencode(shown, safe="/,:@"))
    public = f"{kind}://{place_shown}" + (f"?{said_shown}" if shown else "")
    return Link(kind or "", place, wishes, public)


def public(name: str) -> str:
    """A link without its secrets; any other name as it is."""
    return read(name, ()).public if is_link(name) else name


def log_name(name: str) -> str:
    """What the log of a link is called."""
    link = read(name, ("table",))
    if "table" in link.wishes:
        return link.wishes["table"].rpartition(".")[2]
    if link.kind in ("sqlite", "duckdb"):
        return Path(link.place).stem
    return urlsplit(link.public).path.strip("/").replace("/", "-").replace(",", "-") or link.kind
