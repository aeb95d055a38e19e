"""Finds secrets in a text by the names beside them.

This module owns the notations of names and values: `password=x`, JSON, forms, XML elements and
attributes, and pairs such as `{"name": "password", "value": "x"}`. Each function returns the spans of
the text, (start, end), that hold a secret.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

_ENDS = (
    *("authorization", "cookie", "password", "passwd", "passphrase", "secret", "token"),
    *("apikey", "appkey", "applicationkey", "accesskey", "accesskeyid", "secretkey", "privatekey"),
    *("credential", "credentials", "sessionid", "signature", "clientsecret", "connectionstring"),
)
_EXACT = frozenset(("auth", "pwd", "pin", "otp", "cvv", "cvc", "sid", "session", "sig", "jwt"))
_WORDS = frozenset(("bearer", "basic", "digest", "negotiate", "null", "none", "true", "false"))
"""Words in place of a value that are not secret."""
_NAMES = frozenset(
    (
        *("name", "key", "k", "id", "field", "fieldname", "header", "headername", "parameter"),
        *("parametername", "param", "paramname", "property", "propertyname", "attribute", "label"),
        *("attributename", "variable", "setting", "option"),
    )
)
"""Members and attributes that name what their neighbour holds; lower case, without punctuation."""
_VALUES = frozenset(
    (
        *("value", "val", "v", "values", "content", "text", "stringvalue", "headervalue", "data"),
        *(
            "parametervalue",
            "paramvalue",
            "propertyvalue",
            "attributevalue",
            "fieldvalue",
            "rawvalue",
        ),
    )
)
"""Members and attributes that hold the value that their neighbour names."""

_WITHOUT_PUNCTUATION = {
    code: None for code in range(128) if not (chr(code).isdigit() or chr(code).islower())
}
"""Translation that keeps the characters a-z and 0-9 of an ASCII text in lower case."""

Span = tuple[int, int]

_NAMED = re.compile(r"(?<![\w-])([\w-]+)(?:\\*[\"']|\]|%5D)*\s*[:=]\s*(\\*[\"'])?", re.IGNORECASE)
"""A name, and the characters between it and its value, in any text."""
_VALUE = re.compile(
    r"(?:(?:bearer|basic|digest|negotiate|token)\s+)?[^\s\"'&,;<>})\]\\]+", re.IGNORECASE
)
_LONGEST = 8_192
"""Longest quoted value, in characters; a quote without an end within that is an apostrophe."""

_ATTRIBUTE = re.compile(r"(?<![\w.:-])([\w.:-]+)\s*=\s*(\\?[\"']|&quot;)(.*?)\2", re.DOTALL)
_WITHOUT_CONTENT = frozenset(
    ("input", "meta", "a", "select", "button", "form", "iframe", "fieldset", "slot", "label")
)
"""HTML elements whose text isn't the value of their name."""
_OBJECT = re.compile(r"\{[^{}]{2,20000}\}")
_MEMBER = re.compile(
    r"(\\*\")([@#$\w.-]+)\1\s*:\s*(?:(\\*\")(.*?)(?<!\\)\3|(-?\d[\w.+-]*))", re.DOTALL
)
_FORM = re.compile(r"(?:^|[?&\s])(\w+)=([^&\s]*)&(\w+)=([^&\s]*)")
_LINES = re.compile(
    r"^[ \t-]*[\"']?(\w+)[\"']?[ \t]*:[ \t]*[\"']?([\w.-]+)[\"']?[ \t]*\r?\n"
    r"[ \t]*[\"']?(\w+)[\"']?[ \t]*:[ \t]*[\"']?([^\r\n\"']+)",
    re.MULTILINE,
)
"""A name in one line and its value in the next, as in YAML."""


def is_secret(name: str) -> bool:
    """Whether a value of this name is secret."""
    plain = _normalize_name(name)
    return plain in _EXACT or plain.endswith(_ENDS)


def is_pair(value: dict[Any, Any]) -> bool:
    """Whether one member of an object names a secret, and another may hold its value."""
    if len(value) > 12:
        return False
    return any(
        _normalize_name(name) in _NAMES and isinstance(named, str) and _names_secret(named)
        for name, named in value.items()
        if isinstance(name, str)
    ) and any(map(is_value, value))


def is_value(name: str) -> bool:
    """Whether a member with this name holds the value of a pair."""
    return _normalize_name(name) in _VALUES


def named_spans(text: str) -> list[Span]:
    """Return the spans of all secrets that a name marks, in order and without overlaps."""
    trimmed = (_trim_span(text, *span) for rule in _RULES for span in rule(text))
    found = [span for span in trimmed if span[0] < span[1]]
    found.sort(key=lambda span: (span[0], -span[1]))
    kept: list[Span] = []
    for span in found:
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def _trim_span(text: str, start: int, end: int) -> Span:
    value = text[start:end]
    start += len(value) - len(value.lstrip())
    return start, start + len(value.strip())


def _normalize_name(name: str) -> str:
    """Return a name in lower case without punctuation. It isn't cached, because it may be a secret."""
    if name.isascii():  # by far the most names, and several times faster
        return name.lower().translate(_WITHOUT_PUNCTUATION)
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _names_secret(text: str) -> bool:
    """Whether a text is the name of a secret: one word, not a sentence that ends with such a word."""
    return len(text) <= 60 and len(text.split()) == 1 and is_secret(text)


def _assigned(text: str) -> Iterator[Span]:
    done = 0
    for named in _NAMED.finditer(text):
        name = named[1]
        if text[named.start() - 1 : named.start()] == "%":  # the end of an encoded character
            name = name[2:]
        if named.start() < done or not is_secret(name):
            continue
        end = _find_quote_end(text, named.end(), named[2]) if named[2] else None
        if end is not None:
            if text[named.end() : end].lower() not in _WORDS:
                done = end
                yield named.end(), end
            continue
        value = _VALUE.match(text, named.end())
        if value is not None and value[0].lower() not in _WORDS:
            done = value.end()
            yield value.span()


def _find_quote_end(text: str, start: int, quote: str) -> int | None:
    """Return the end of a quoted value that begins at `start`; None if the quote isn't closed."""
    at = text.find(quote, start, start + _LONGEST)
    while at > 0 and len(quote) == 1 and _is_escaped(text, at, start):
        at = text.find(quote, at + 1, start + _LONGEST)
    return at if at >= 0 and "\n" not in text[start:at] else None


def _is_escaped(text: str, at: int, start: int) -> bool:
    before = at
    while before > start and text[before - 1] == "\\":
        before -= 1
    return (at - before) % 2 == 1


class _Markup:
    """Elements and attributes of XML, written directly or escaped inside another text."""

    def __init__(self, mark: str, open_: str, close: str, inside: str) -> None:
        """`mark` occurs in every such text; the other arguments are patterns for parts of a tag."""
        self._mark = mark
        start, name = rf"{open_}(?:[\w.-]+:)?", r"[\w.-]+"
        child = rf"{open_}(?!/|!)[\w.:-]+(?:\s{inside}*)?{close}"
        cdata = rf"\s*{open_}!\[CDATA\[(.*?)\]\]{close}"
        self._element = re.compile(
            rf"{start}({name})(?:\s{inside}*)?{close}"
            rf"(?=(?:\s*{child})?(?:{cdata}|({inside}+)(?={open_}/)))",
            re.DOTALL,
        )
        """An element with its text, or with the text of its first child."""
        self._tag = re.compile(rf"{start}({name})(\s{inside}{{1,8192}}?)(/?){close}", re.DOTALL)
        self._content = re.compile(rf"{cdata}|({inside}+)(?={open_})", re.DOTALL)
        self._elements = re.compile(
            rf"{start}({name}){close}({inside}+){open_}/(?:[\w.-]+:)?\1{close}\s*"
            rf"{child}(?:\s*{child})?({inside}+){open_}/",
            re.DOTALL,
        )
        """A name in one element and its value in the next, as in property lists and XML-RPC."""

    def spans(self, text: str) -> Iterator[Span]:
        """The spans of secrets in a text."""
        if self._mark in text:
            yield from self._of_elements(text)
            yield from self._of_tags(text)

    def _of_elements(self, text: str) -> Iterator[Span]:
        for found in self._element.finditer(text):
            if is_secret(found[1]):
                yield found.span(2 if found[2] is not None else 3)
        for found in self._elements.finditer(text):
            if _normalize_name(found[1]) in _NAMES and _names_secret(found[2].strip()):
                yield found.span(3)

    def _of_tags(self, text: str) -> Iterator[Span]:
        for tag in self._tag.finditer(text):
            attributes = [
                (_normalize_name(found[1].rpartition(":")[2]), found)
                for found in _ATTRIBUTE.finditer(text, tag.start(2), tag.end(2))
            ]
            named = [
                name for name, found in attributes if name in _NAMES and _names_secret(found[3])
            ]
            if not named:
                continue
            values = [found.span(3) for name, found in attributes if name in _VALUES]
            yield from values
            has_content = not values and not tag[3] and tag[1].lower() not in _WITHOUT_CONTENT
            content = (
                self._content.match(text, tag.end()) if has_content and named != ["id"] else None
            )
            if content is not None:
                yield content.span(1 if content[1] is not None else 2)


_MARKUPS = (
    _Markup("<", "<", ">", "[^<>]"),
    _Markup("&lt;", "&lt;", "&gt;", "(?:(?!&lt;|&gt;)[^<>])"),
    _Markup("u003", r"\\u003[cC]", r"\\u003[eE]", r"(?:(?!\\u003[cCeE])[^<>])"),
)


def _markup(text: str) -> Iterator[Span]:
    for one in _MARKUPS:
        yield from one.spans(text)


def _objects(text: str) -> Iterator[Span]:
    if "{" not in text:
        return
    for found in _OBJECT.finditer(text):
        members = [*_MEMBER.finditer(text, *found.span())]
        if any(_normalize_name(m[2]) in _NAMES and m[4] and _names_secret(m[4]) for m in members):
            for member in members:
                if _normalize_name(member[2]) in _VALUES:
                    yield member.span(4 if member[3] else 5)


def _forms(text: str) -> Iterator[Span]:
    if "=" not in text or "&" not in text:
        return
    at = 0
    while (found := _FORM.search(text, at)) is not None:
        yield from _pair_value_spans(found)
        at = found.start(3) - 1


def _lines(text: str) -> Iterator[Span]:
    if "\n" not in text or ":" not in text:
        return
    for found in _LINES.finditer(text):
        yield from _pair_value_spans(found)


def _pair_value_spans(found: re.Match[str]) -> Iterator[Span]:
    """The span of the value in a pair, in either order of name and value."""
    for name, value in ((1, 3), (3, 1)):
        is_named = _normalize_name(found[name]) in _NAMES and _names_secret(found[name + 1])
        if is_named and _normalize_name(found[value]) in _VALUES:
            yield found.span(value + 1)


_RULES: tuple[Callable[[str], Iterator[Span]], ...] = (
    *(_assigned, _markup, _objects, _forms, _lines),
)
