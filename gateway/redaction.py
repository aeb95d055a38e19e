"""Redaction: removes secrets from everything that is kept. Only this module decides what is secret.

A secret is recognized by its name (of a header, a parameter, a member), by its shape, or because the
same value had such a name before; then it is replaced wherever it occurs: in a URL, a body, an error.
The replacement is a keyed hash (see `storage.ingest.io.keyed_hash`).
"""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from gateway.secret_places import is_pair, is_secret, is_value, named_spans
from storage.ingest.io import keyed_hash
from storage.ingest.io.keyed_hash import PLACEHOLDER_PATTERN, load_or_create_key

_MIN_SEARCHED_CHARACTERS = 6
"""Shortest secret, in characters, to search for elsewhere; a shorter one would match everywhere."""
_SECRETS_PER_PATTERN = 500
"""Number of secrets in one regular expression."""
_MAX_SECRETS = 10_000
"""Largest number of secrets to search for elsewhere."""
_FORM_PART = re.compile(
    r"""name="([^"\r\n]+)"[^\r\n]*(?:\r?\n[^\r\n]+)*\r?\n\r?\n(.*?)(?=\r?\n--)""", re.DOTALL
)
"""One part of a form posted as multipart/form-data."""
_SECRET_SHAPES = re.compile(
    r"(?P<scheme>\b(?:[Bb]earer|[Bb]asic|[Dd]igest|[Nn]egotiate)\s+)(?P<credential>[A-Za-z0-9._~+/=-]{6,})"
    r"|(?P<userinfo>://)(?P<user>[^\s/@:\"']*:[^\s/@\"']+)(?=@)"
    r"|(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----)"
    r"|(?P<shape>\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,}"
    r"|sk_(?:live|test)_\w{10,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*))",
    re.DOTALL,
)
_SHAPE_MARKERS = (
    *("earer ", "asic ", "igest ", "egotiate ", "://", "PRIVATE KEY", "AKIA", "xox", "sk_", "eyJ"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
)
"""Texts of which every such shape contains one; a substring search is faster than the expression."""
__all__ = ["Redactor", "is_secret"]


class Redactor:
    """Removes secrets from values and texts, and remembers those that it has met."""

    def __init__(self, key: bytes | None = None) -> None:
        self._own_key = key
        self._placeholder_by_secret: dict[str, str] = {}
        """Placeholders by secret, in each of its spellings."""
        self._pattern: re.Pattern[str] | None = None
        self._inspected_texts = _InspectedTexts()

    @property
    def has_secrets(self) -> bool:
        """Whether it has met a secret."""
        return bool(self._placeholder_by_secret)

    def secret_patterns(self) -> Iterator[str]:
        """Regular expressions (RE2) that match the secrets met so far."""
        known = list(self._placeholder_by_secret)
        for first in range(0, len(known), _SECRETS_PER_PATTERN):
            yield "|".join(map(re.escape, known[first : first + _SECRETS_PER_PATTERN]))

    def replace_secret(self, secret: str) -> str:
        """Return the placeholder of a secret, and remember the secret."""
        if PLACEHOLDER_PATTERN.fullmatch(secret) or not secret:
            return secret
        if secret in self._placeholder_by_secret:
            return self._placeholder_by_secret[secret]
        # Read the user's key only when the first secret is met: a replay without secrets needs none.
        if self._own_key is None:
            self._own_key = load_or_create_key()
        new_placeholder = keyed_hash.make_placeholder(self._own_key, secret)
        if (
            len(secret) >= _MIN_SEARCHED_CHARACTERS
            and len(self._placeholder_by_secret) < _MAX_SECRETS
        ):
            for spelling in _spellings(secret):
                self._placeholder_by_secret.setdefault(spelling, new_placeholder)
            self._pattern = None
        return new_placeholder

    def redact_value(self, value: Any, paths: Sequence[str] = ()) -> Any:
        """Return a JSON value without its secrets; `paths` such as `card.number` are secret too."""
        secret_paths = [tuple(path.split(".")) for path in paths]
        try:
            return self._redact_nested(value, secret_paths)
        except RecursionError:
            return self.replace_secret(repr(type(value)))

    def redact_headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return headers without their secrets."""
        return [(name, self._redact_header(name.lower(), value)) for name, value in headers]

    def _redact_header(self, name: str, value: str) -> str:
        if name not in ("cookie", "set-cookie"):
            return self.replace_secret(value) if is_secret(name) else self.redact_text(value)
        # Names and attributes of cookies are not secret.
        pairs = value.split(";")
        secret = pairs[: 1 if name == "set-cookie" else None]
        return ";".join([*map(self._redact_cookie, secret), *pairs[len(secret) :]])

    def _redact_cookie(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        return f"{name}{equals}{self.replace_secret(value)}" if value else pair

    def redact_url(self, url: str) -> str:
        """Return a URL without its secrets."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return self.redact_text(url)
        user, at, authority = parts.netloc.rpartition("@")
        if at:
            authority = f"{self.replace_secret(unquote(user))}@{authority}"
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        if any(is_secret(name) for name, _ in pairs):
            pairs_without_secrets = [
                (n, self.replace_secret(v) if is_secret(n) else v) for n, v in pairs
            ]
            query = urlencode(pairs_without_secrets, quote_via=quote)
        else:
            query = parts.query
        return self.redact_text(
            urlunsplit((parts.scheme, authority, parts.path, query, parts.fragment))
        )

    def redact_text(self, text: str) -> str:
        """Return a text without the secrets known by name, by shape, or from before."""
        if "form-data" in text:
            for name, value in _FORM_PART.findall(text):
                if value and is_secret(name):
                    text = text.replace(value, self.replace_secret(value))
        if self._inspected_texts.may_hold_secret(text):
            text = _SECRET_SHAPES.sub(self._replace_shape, self._redact_named_values(text))
        return self._replace_known_secrets(text)

    def redact_bytes(self, body: bytes) -> bytes:
        """Return bytes without the secrets in the parts that are text."""
        text = body.decode("latin-1")
        redacted = self.redact_text(text)
        return body if redacted == text else redacted.encode("latin-1", "replace")

    def _redact_nested(
        self, value: Any, secret_paths: list[tuple[str, ...]], name: str = ""
    ) -> Any:
        """Return a value without its secrets; `name` is the member that holds it."""
        if isinstance(value, dict):
            pair = is_pair(value)
            return {
                self.redact_text(inner): self._redact_member(
                    inner,
                    member,
                    _paths_below(secret_paths, inner),
                    secret=pair and is_value(inner),
                )
                for inner, member in value.items()
            }
        if isinstance(value, list):
            value = self._pair_list(value, name)
            return [
                self._redact_nested(item, [*secret_paths, *_paths_below(secret_paths, str(i))])
                for i, item in enumerate(value)
            ]
        if isinstance(value, str):
            return (
                self.redact_url(value)
                if "://" in value[:12] and "\n" not in value
                else self.redact_text(value)
            )
        return value

    def _redact_member(
        self, name: str, value: Any, paths: list[tuple[str, ...]], *, secret: bool = False
    ) -> Any:
        if () in paths or ((secret or is_secret(name)) and _is_wholly_secret(value)):
            return None if value is None else self._replace_everything(value)
        return self._redact_nested(value, paths, name)

    def _pair_list(self, items: list[Any], name: str) -> list[Any]:
        """Redact a list of names with their values, such as headers: [[name, value], …], or, in a
        member whose name ends in `headers`, [name, value, name, value, …]."""
        if not items:
            return items
        if all(isinstance(one, list) and len(one) == 2 and _is_scalar(one[1]) for one in items):
            return [
                [*self.redact_headers([(first, second)])[0]]
                if isinstance(first, str) and isinstance(second, str)
                else [first, second]
                for first, second in items
            ]
        if name.lower().endswith("headers") and all(isinstance(item, str) for item in items):
            pairs = self.redact_headers(zip(items[::2], items[1::2], strict=False))
            return [text for pair in pairs for text in pair] + items[len(pairs) * 2 :]
        return items

    def _replace_everything(self, value: Any) -> Any:
        """Replace a value that a path names, and everything in it."""
        if isinstance(value, dict):
            return {name: self._replace_everything(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._replace_everything(item) for item in value]
        return self.replace_secret(value if isinstance(value, str) else str(value))

    def _redact_named_values(self, text: str) -> str:
        """Replace the values that have the name of a secret."""
        segments, done = [], 0
        for start, end in named_spans(text):
            segments += [text[done:start], self.replace_secret(text[start:end])]
            done = end
        return "".join([*segments, text[done:]])

    def _replace_shape(self, match: re.Match[str]) -> str:
        prefix = match["scheme"] or match["userinfo"] or ""
        secret = match["credential"] or match["user"] or match["pem"] or match["shape"]
        return prefix + self.replace_secret(secret)

    def _replace_known_secrets(self, text: str) -> str:
        if not self._placeholder_by_secret:
            return text
        if self._pattern is None:
            longest = sorted(self._placeholder_by_secret, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest)))
        return self._pattern.sub(lambda found: self._placeholder_by_secret[found[0]], text)


class _InspectedTexts:
    """Remembers of short texts whether they may hold a secret, because operations and headers repeat.

    It keeps a keyed hash of each text and never the text, which may be a secret.
    """

    _MAX_CHARACTERS = 1_000
    _MAX_TEXTS = 4_096

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._may_hold_by_hash: dict[bytes, bool] = {}

    def may_hold_secret(self, text: str) -> bool:
        """Whether a text has a secret by name or shape."""
        if len(text) > self._MAX_CHARACTERS:
            return _may_hold_secret(text)
        encoded = text.encode("utf-8", "surrogatepass")
        text_hash = hashlib.blake2b(encoded, key=self._key, digest_size=16).digest()
        found = self._may_hold_by_hash.get(text_hash)
        if found is None:
            if len(self._may_hold_by_hash) >= self._MAX_TEXTS:
                self._may_hold_by_hash.clear()
            found = self._may_hold_by_hash[text_hash] = _may_hold_secret(text)
        return found


def _may_hold_secret(text: str) -> bool:
    if named_spans(text):
        return True
    return any(part in text for part in _SHAPE_MARKERS) and _SECRET_SHAPES.search(text) is not None


def _spellings(secret: str) -> Iterable[str]:
    """The ways to write a secret."""
    yield secret
    yield quote(secret, safe="")
    yield base64.b64encode(secret.encode("utf-8", "replace")).decode()
    yield from {html.escape(secret), html.unescape(secret), json.dumps(secret)[1:-1]} - {secret}
    if secret.lower().startswith(("bearer ", "basic ", "token ")):
        yield from _spellings(secret.partition(" ")[2])
    elif ":" in secret:  # name and password
        password = secret.partition(":")[2]
        if len(password) >= _MIN_SEARCHED_CHARACTERS:
            yield password


def _paths_below(paths: list[tuple[str, ...]], name: str) -> list[tuple[str, ...]]:
    """Return the rest of each path below a member."""
    return [path[1:] for path in paths if path and path[0] in (name, "*")]


def _is_wholly_secret(value: Any) -> bool:
    """Whether the value of a secret name is secret as a whole: a text, a number, a list of those, or
    an object with one of these and its type, such as {"S": "x"} or {"value": "x"}."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_scalar, value))
    if isinstance(value, dict):
        return len(value) == 1 and all(map(_is_scalar, value.values()))
    return not isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
