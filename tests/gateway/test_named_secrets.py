"""Secrets marked by a name beside them: XML, forms, name/value pairs, in values and in texts."""

import html
import json
import string
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.redaction import Redactor
from tests.support.properties import examples

NAMES = ["password", "Authorization", "api_key", "X-Api-Key", "accessToken", "client-secret", "pin"]
SECRETS = st.text(
    string.ascii_letters + string.digits + "-_ &<>'.:/é+", min_size=8, max_size=24
).map(lambda text: f"Zq{text}qZ")

VALUES = {
    "name and value": lambda n, s: {"name": n, "value": s},
    "key and value": lambda n, s: {"Key": n, "Value": s, "enabled": True},
    "value first": lambda n, s: {"value": s, "field": n},
    "xml as JSON": lambda n, s: {"@name": n, "#text": s},
    "list of pairs": lambda n, s: {
        "parameters": [{"name": "user", "value": "bob"}, {"name": n, "value": s}]
    },
    "headers as lists": lambda n, s: {"headers": [["Accept", "*/*"], [n, s]]},
    "raw headers": lambda n, s: {"rawHeaders": ["Accept", "*/*", n, s]},
    "values in a list": lambda n, s: {"headers": {n: [s]}},
    "typed": lambda n, s: {n: {"S": s}},
    "several values": lambda n, s: {"name": n, "values": [s, "another-" + s]},
}
TEXTS = {
    "element": lambda n, s: f"<login><{n}>{html.escape(s)}</{n}></login>",
    "element with a prefix": lambda n, s: f'<a:{n} type="t">\n  {html.escape(s)}\n</a:{n}>',
    "element in an element": lambda n, s: f"<{n}><value>{html.escape(s)}</value></{n}>",
    "CDATA": lambda n, s: f"<{n}><![CDATA[{s}]]></{n}>",
    "escaped element": lambda n, s: f"&lt;{n}&gt;{quote(s)}&lt;/{n}&gt;",
    "attribute": lambda n, s: f"<login user='bob' {n}={quoteattr(s)}/>",
    "attributes of a pair": lambda n, s: f'<add key="{n}" value={quoteattr(s)} />',
    "attributes of a pair, reversed": lambda n, s: f"<add value={quoteattr(s)} key='{n}'/>",
    "named element": lambda n, s: f'<param name="{n}">{html.escape(s)}</param>',
    "property list": lambda n, s: f"<dict><key>{n}</key>\n<string>{html.escape(s)}</string></dict>",
    "XML-RPC": lambda n, s: f"<name>{n}</name><value><string>{html.escape(s)}</string></value>",
    "JSON": lambda n, s: json.dumps({"a": 1, n: s}),
    "JSON of a pair": lambda n, s: json.dumps(
        [{"name": "user", "value": "b"}, {"name": n, "value": s}]
    ),
    "JSON of a pair, value first": lambda n, s: json.dumps({"value": s, "type": "x", "key": n}),
    "JSON in JSON": lambda n, s: json.dumps({"body": json.dumps({"name": n, "value": quote(s)})}),
    "form": lambda n, s: f"user=bob&{n}={quote(s)}&x=1",
    "nested form": lambda n, s: f"user[name]=bob&user[{n}]={quote(s)}",
    "encoded nested form": lambda n, s: f"user%5B{n}%5D={quote(s, safe='')}&x=1",
    "form of a pair": lambda n, s: f"name={n}&value={quote(s)}&x=1",
    "form of a pair, reversed": lambda n, s: f"x=1&value={quote(s)}&name={n}",
    "YAML of a pair": lambda n, s: f"env:\n  - name: {n}\n    value: {quote(s)}\n",
    "quoted with spaces": lambda n, s: f'{n}: "{quote(s)} and more"',
}


def written(secret):
    """The spellings in which a redacted value could still hold a secret."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        html.escape(secret),
        secret.replace(" ", ""),
    }


@pytest.mark.parametrize("shape", VALUES)
@settings(max_examples=examples(25), deadline=None)
@given(name=st.sampled_from(NAMES), secret=SECRETS)
def test_a_value_keeps_no_secret(shape, name, secret):
    clean = json.dumps(
        Redactor(b"key").redact_value(VALUES[shape](name, secret)), ensure_ascii=False
    )
    assert not [form for form in written(secret) if form in clean], clean
    assert "Zq" not in clean
    assert "redacted-" in clean


@pytest.mark.parametrize("shape", TEXTS)
@settings(max_examples=examples(25), deadline=None)
@given(name=st.sampled_from(NAMES), secret=SECRETS, inside=st.booleans())
def test_a_text_keeps_no_secret(shape, name, secret, inside):
    text = TEXTS[shape](name, secret)
    redactor = Redactor(b"key")
    clean = redactor.redact_value({"body": text})["body"] if inside else redactor.redact_text(text)
    assert "Zq" not in clean, clean
    assert "qZ" not in clean, clean
    assert "redacted-" in clean
    assert redactor.redact_text(clean) == clean


@pytest.mark.parametrize("shape", [*VALUES, *TEXTS])
@pytest.mark.parametrize("name", ["amount", "city", "tokens_used", "author", "pinned"])
def test_a_value_without_secret_stays(shape, name):
    made = {**VALUES, **TEXTS}[shape](name, "ordinary text")
    assert Redactor(b"key").redact_value(made) == made


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Ann", "value": 5},
        {"name": "He forgot his password", "value": "yesterday"},
        {"key": "order-17", "data": {"total": 5}},
        {"tags": ["password", "login"]},
        {"label": "Password", "hint": "at least 8 characters"},
        "<label for='p'>Password</label><p>It's the token's value</p>",
        '<p id="token">Explain tokens here</p>',
        '<input name="password"> Choose one',
        "the password isn't known, and the token = ",
        "a < b && token > c",
        {"password": None, "token": True},
        {"settings": {"session": {"minutes": 5, "idle": 2}}},
    ],
)
def test_a_value_that_only_looks_secret_stays(value):
    assert Redactor(b"key").redact_value(value) == value


def test_equal_secrets_stay_equal_in_every_notation():
    redactor = Redactor(b"key")
    stands = redactor.replace_secret("hunter2 hunter2")
    for made in (
        {"name": "password", "value": "hunter2 hunter2"},
        "<password>hunter2 hunter2</password>",
        "<add key='password' value='hunter2 hunter2'/>",
        '{"password": "hunter2 hunter2"}',
    ):
        assert stands in str(Redactor(b"key").redact_value(made)), made


@pytest.mark.parametrize(
    "text",
    [
        "<" * 100_000,
        "<a " + "x" * 100_000,
        "<password>" + " " * 200_000,
        "<a b='" * 20_000,
        "{" * 50_000 + '"name":"password"' + "}" * 50_000,
        '{"name":"password","value":"' + "\\" * 100_000,
        "password=" * 20_000,
        "token '" * 20_000,
        "name=password&" * 20_000,
        "- name: token\n" * 20_000,
        "&lt;" * 50_000,
    ],
    ids=range(11),
)
def test_hostile_texts_take_linear_time(text):
    """A regular expression that backtracks would take hours here."""
    Redactor(b"key").redact_text(text)
