"""Secrets are in no column of any table, and in no export."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange import import_export
from gateway.redaction import Redactor, is_secret
from tests.support.gateway_caller import Caller, Outside
from tests.support.properties import examples

PLANTED = {
    "header": "HDR-7f31c2a9d0",
    "bearer": "BEARER-aa41f0c3",
    "cookie": "COOKIE-91b2e4",
    "url": "URLKEY-5d5e6f70",
    "path": "PATH-of-the-token-8842",
    "user": "USERPASS-77aa31",
    "body": "BODY-PWD-3c4d5e",
    "form": "FORM-SECRET-66f1",
    "response": "RESP-TOKEN-abc991",
    "response cookie": "SETCOOKIE-31f1c0",
    "error": "ERRPASS-99aa00",
    "query": "PORTKEY-2b2b2b",
    "declared": "DE89-3704-0044",
}


def test_planted_secrets_are_stored_nowhere(caller: Caller, outside: Outside):
    def answer(handler):
        if handler.path.startswith("/fail"):
            handler.say(
                401, {"error": f"bad password={PLANTED['error']}", "echo": PLANTED["bearer"]}
            )
        else:
            handler.say(
                200,
                {
                    "access_token": PLANTED["response"],
                    "iban": PLANTED["declared"],
                    "ok": handler.path,
                },
                [("Set-Cookie", f"sid={PLANTED['response cookie']}; Path=/")],
            )
        return True

    outside.answer = answer
    caller.ports["fx"]["redact"] = ["iban", "body.iban"]
    caller.events(*[("a", "T", {"n": n}) for n in range(2)])
    caller.file(
        "p.py",
        f"""
        import requests
        P = {PLANTED!r}
        def apply(state, event, gateway):
            url = "{outside.url}"
            r = requests.post(url + "/login", data={{"client_secret": P["form"]}},
                headers={{"X-Api-Key": P["header"], "Authorization": "Bearer " + P["bearer"]}},
                cookies={{"session": P["cookie"]}})
            state["login"] = r.json()
            state["event"] = event.offset
            token = r.json()["access_token"]
            state["get"] = requests.get(url + "/things/" + token, params={{"api_key": P["url"]}}).json()
            requests.get(url.replace("://", "://bob:" + P["user"] + "@") + "/u")
            requests.put(url + "/p", json={{"password": P["body"], "note": "it is " + P["body"]}})
            print("token=" + token, P["bearer"])
            try:
                gateway.query("fx", "fail", {{"token": P["query"]}})
            except gateway.Failed as error:
                state["failed"] = str(error)
            if event.offset:
                requests.get(url + "/never-recorded", params={{"password": P["path"], "n": state["get"]["ok"]}})
        """,
    )
    made = caller.record(send=("fx",))
    assert made.call_count == 11
    # The service received every secret.
    said = str(outside.reached)
    for name in ("header", "bearer", "cookie", "url", "body", "form", "response"):
        assert PLANTED[name] in said, name
    folded = caller.replay()
    everything = caller.everything()
    for name, secret in PLANTED.items():
        assert secret not in everything, name
    failure, *_ = [*caller.failures(folded), None]
    assert len(caller.states(folded)) == 2, failure
    assert "redacted-" in json.dumps(caller.states(folded))
    # Missed calls show their request and failures their error; neither has a secret.
    caller.file(
        "q.py",
        f"""
        import requests
        def apply(state, event, gateway):
            if event.offset:
                said = "password=" + {PLANTED["path"]!r}
                raise ValueError(said + " Authorization: Bearer " + {PLANTED["bearer"]!r})
            gateway.query("fx", "other", {{"api_key": {PLANTED["query"]!r}}})
        """,
    )
    failed = caller.replay("q.py")
    assert len(caller.failures(failed)) == 2
    everything = caller.everything()
    for ending in ("jsonl", "yaml", "har"):
        file = caller.folder / f"out.{ending}"
        assert import_export.export_recordings(caller.workspace, file).call_count > 0
        everything += file.read_text()
    for name, secret in PLANTED.items():
        assert secret not in everything, name


def test_a_secret_learned_later_is_removed_from_earlier_recordings(
    caller: Caller, outside: Outside
):
    secret = "LATER-met-secret-90"

    def answer(handler):
        name = "access_token" if handler.path == "/login" else "note"
        handler.say(200, {name: secret, "path": handler.path})
        return True

    outside.answer = answer
    caller.events(*[("a", "T", {"n": n}) for n in range(3)])
    caller.file(
        "p.py",
        f"""
        import requests
        def apply(state, event):
            url = "{outside.url}/" + ("login" if event.offset == 2 else "use")
            state["path"] = requests.get(url).json()["path"]
            state["n"] = event.offset
            parts = {{"password": (None, "FORM-part-secret"), "f": ("a.txt", b"FORM-part-secret")}}
            requests.post(url, files=parts)
        """,
    )
    caller.record()
    everything = caller.everything()
    assert secret not in everything
    assert "FORM-part-secret" not in everything
    assert len(caller.states(caller.replay())) == 3


def test_equal_secrets_have_equal_placeholders_and_the_key_is_outside_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    one, other = Redactor(), Redactor()
    said = one.redact_headers([("Authorization", "Bearer abcdefgh")])
    assert said == other.redact_headers([("authorization", "Bearer abcdefgh")])[:0] + said
    assert other.redact_headers([("Authorization", "Bearer abcdefgh")]) == said
    assert (tmp_path / "mine" / "refold" / "redaction.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
    assert Redactor().redact_headers([("Authorization", "Bearer abcdefgh")]) != said


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authorization",
        "Set-Cookie",
        "X-Api-Key",
        "api_key",
        "apiKey",
        "DD-API-KEY",
    ]
    + ["password", "db_password", "access_token", "refreshToken", "client_secret", "token", "pin"],
)
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["pair", "amount", "tokens_used", "authorized", "pinned", "content-type"]
)
def test_names_of_values_that_are_not_secret(name):
    assert not is_secret(name)


SECRETS = st.text(string.ascii_letters + string.digits + "-_", min_size=8, max_size=30).map(
    "Zq".__add__
)


@settings(max_examples=examples(60), deadline=None)
@given(SECRETS, st.sampled_from(["body", "url", "text", "list", "key"]))
def test_a_known_secret_is_redacted_everywhere(secret, where):
    redactor = Redactor(b"key")
    values = {
        "body": {"password": secret, "note": f"it is {secret}!"},
        "url": {"token": secret, "link": f"https://h/{secret}/x?y={secret}"},
        "text": {"secret": secret, "log": f"a\n{secret}\tb"},
        "list": [{"api_key": secret}, [secret, {"x": [secret]}]],
        "key": {"password": secret, secret: 1},
    }
    redactor.redact_value(values[where])  # here the redactor learns it
    clean = redactor.redact_value(values[where])
    assert secret not in json.dumps(clean)
    assert redactor.redact_value(clean) == clean
