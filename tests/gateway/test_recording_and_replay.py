"""Recording against a real service, and replays that make no call."""

import json

import pytest

from gateway import recording_store
from gateway.modes import Mode
from replay.history.catalogue import find_fold
from replay.history.history import History
from storage.errors import ProjectionError
from tests.support.gateway_caller import Caller, Outside

ASKS = """
def apply(state, event, gateway):
    state["n"] = gateway.query("fx", "rate", {"pair": event.data["pair"]})["n"]
"""
CLIENTS = {
    "requests": """
import requests
def ask(url, method="GET", **more):
    r = requests.request(method, url, **more)
    return r.status_code, r.json()
""",
    "a requests session with retries": """
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry
session = requests.Session()
session.mount("http://", HTTPAdapter(max_retries=Retry(3, status_forcelist=[503], backoff_factor=5)))
def ask(url, method="GET", **more):
    r = session.request(method, url, **more)
    return r.status_code, r.json()
""",
    "urllib3": """
import json, urllib3
pool = urllib3.PoolManager()
def ask(url, method="GET", json=None, **more):
    r = pool.request(method, url, json=json, **more) if json else pool.request(method, url, **more)
    return r.status, r.json()
""",
    "httpx": """
import httpx
def ask(url, method="GET", **more):
    with httpx.Client() as client:
        r = client.request(method, url, **more)
    return r.status_code, r.json()
""",
    "async httpx": """
import asyncio, httpx
async def _ask(url, method, more):
    async with httpx.AsyncClient() as client:
        r = await client.request(method, url, **more)
    return r.status_code, r.json()
def ask(url, method="GET", **more):
    return asyncio.run(_ask(url, method, more))
""",
    "aiohttp": """
import asyncio, aiohttp
async def _ask(url, method, more):
    async with aiohttp.ClientSession() as session:
        async with session.request(method, url, **more) as r:
            return r.status, await r.json()
def ask(url, method="GET", **more):
    return asyncio.run(_ask(url, method, more))
""",
    "urllib.request": """
import json as j, urllib.request
def ask(url, method="GET", json=None):
    data = None if json is None else j.dumps(json).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method)) as r:
        return r.status, j.load(r)
""",
}


def test_a_query_is_made_once_and_then_answered_from_its_recording(
    caller: Caller, outside: Outside
):
    caller.events(
        ("a", "T", {"pair": "EURUSD"}),
        ("b", "T", {"pair": "EURGBP"}),
        ("a", "T", {"pair": "EURUSD"}),
    )
    caller.file("p.py", ASKS)
    made = caller.record()
    assert (made.call_count, made.error_count, made.suppressed_count, outside.count) == (3, 0, 0, 3)
    folded = caller.replay()
    assert caller.changes(folded) == [(0, "a", {"n": 1}), (1, "b", {"n": 2}), (2, "a", {"n": 3})]
    assert [d.decision for d in caller.decided(folded)] == ["recorded"] * 3
    assert outside.count == 3


def test_a_replay_is_the_same_byte_for_byte_however_it_is_made(caller: Caller, outside: Outside):
    caller.events(*[(f"s{n % 5}", "T", {"pair": str(n)}) for n in range(60)])
    caller.file("p.py", ASKS)
    caller.record()
    first = caller.changes(caller.replay())
    for wishes in ({"force": True}, {"force": True, "workers": 3}):
        assert caller.changes(caller.replay(**wishes)) == first
    assert len(caller.decided(caller.replay())) == 60
    caller.events(*[(f"s{n % 5}", "T", {"pair": str(n)}) for n in range(60, 70)])
    caller.record(base_record=caller.replay(), span=_span(60, 69))
    again = caller.changes(caller.replay())
    assert again[:60] == first
    assert [state["n"] for *_, state in again[60:]] == list(range(61, 71))


def _span(first, last):
    from replay.projection.offset_span import OffsetSpan

    return OffsetSpan(first, last)


@pytest.mark.parametrize("client", CLIENTS)
def test_unmodified_http_clients_are_answered(caller: Caller, outside: Outside, client):
    caller.events(*[("a", "T", {"n": n}) for n in range(4)])
    caller.file(
        "p.py",
        CLIENTS[client]
        + f"""
def apply(state, event):
    n = event.data["n"]
    state["got"] = ask("{outside.url}/r?b=" + str(n) + "&a=1")
    state["posted"] = ask("{outside.url}/post", "POST", json={{"n": n}})[0] if n == 2 else None
""",
    )
    made = caller.record(send=("fx",))
    assert (made.call_count, made.error_count) == (5, 0), made
    assert outside.count == 5
    folded = caller.replay()
    assert caller.failures(folded) == []
    states = caller.states(folded)
    assert [s["got"][1]["path"] for s in states] == [f"/r?b={n}&a=1" for n in range(4)]
    assert [s["posted"] for s in states] == [None, None, 200, None]
    decisions = [d.decision for d in caller.decided(folded)]
    assert decisions == ["recorded"] * 3 + ["suppressed", "recorded"]
    assert outside.count == 5


def test_retries_redirects_and_failures_replay_unchanged(caller: Caller, outside: Outside):
    def answer(handler):
        tried = sum(path == handler.path for _, path, *_ in outside.reached)
        if handler.path == "/busy" and tried < 3:
            handler.say(503, {"busy": tried})
        elif handler.path == "/moved":
            handler.say(302, b"", [("Location", "/here")])
        elif handler.path == "/gone":
            handler.say(404, {"gone": True})
        else:
            return False
        return True

    outside.answer = answer
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        CLIENTS["a requests session with retries"]
        + f"""
def apply(state, event):
    state["busy"] = ask("{outside.url}/busy")[0]
    state["moved"] = ask("{outside.url}/moved")[1]["path"]
    state["gone"] = ask("{outside.url}/gone")[0]
""",
    )
    caller.record()
    assert outside.count == 6
    [state] = caller.states(caller.replay())
    assert state == {"busy": 200, "moved": "/here", "gone": 404}
    assert outside.count == 6


def test_recorded_errors_are_replayed(caller: Caller, outside: Outside):
    def answer(handler):
        if handler.path.startswith("/reset"):
            handler.connection.close()
            handler.close_connection = True
        elif handler.path.startswith("/hang"):
            import time

            time.sleep(1.5)
        return handler.path.startswith(("/reset", "/hang"))

    outside.answer = answer
    caller.ports = {
        "fx": {"live": outside.url, "timeout": 0.5},
        "nobody": {"live": "http://127.0.0.1:1"},
        "large": {"live": outside.url, "most": 10},
    }
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        f"""
        import requests
        def apply(state, event, gateway):
            for port, operation in (("fx", "reset"), ("fx", "hang"), ("nobody", "x"), ("large", "x")):
                try:
                    gateway.query(port, operation)
                except gateway.Timeout as error:
                    state[port + operation] = "timeout"
                except gateway.Failed as error:
                    state[port + operation] = str(error)[:11]
            try:
                requests.get("{outside.url}/reset2")
            except requests.ConnectionError:
                state["requests"] = "connection"
        """,
    )
    made = caller.record()
    assert made.error_count == 5
    [state] = caller.states(caller.replay())
    assert state.pop("fxhang") == "timeout"
    assert state.pop("requests") == "connection"
    assert state["largex"] == "TooLargeErr"
    assert set(state) == {"fxreset", "nobodyx", "largex"}


def test_a_repeated_request_within_an_event_gets_the_next_answer(caller: Caller, outside: Outside):
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["n"] = [gateway.query("fx", "rate", {})["n"] for _ in range(3)]
        """,
    )
    caller.record()
    assert caller.states(caller.replay()) == [{"n": [1, 2, 3]}]
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["n"] = [gateway.query("fx", "rate", {})["n"] for _ in range(4)]
        """,
    )
    folded = caller.replay()
    assert caller.states(folded) == []
    [failure] = caller.failures(folded)
    assert "fx.rate was recorded fewer than 4 times at this event" in failure.error


def test_a_missed_call_fails_even_if_the_handler_swallows_it(caller: Caller):
    caller.events(("a", "T", {}), ("a", "T", {}))
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["n"] = event.offset
            if event.offset:
                try:
                    gateway.query("fx", "rate", {"pair": "X"})
                except Exception:
                    pass
        """,
    )
    folded = caller.replay()
    assert caller.changes(folded) == [(0, "a", {"n": 0})]
    [failure] = caller.failures(folded)
    assert failure.offset == 1
    [missed] = caller.decided(folded)
    assert (missed.decision, missed.offset, missed.key) == ("missed", 1, "a")


def test_a_swallowed_missed_call_fails_in_a_large_document_too(caller: Caller):
    caller.events(*[("a", "T", {})] * 3)
    caller.file(
        "p.py",
        """
        def initial(key):
            return {"items": {str(n): "x" * 100 for n in range(2_000)}}
        def apply(state, event, gateway):
            state["items"]["7"] = event.offset
            if event.offset == 1:
                try:
                    gateway.query("fx", "rate", {"pair": "X"})
                except Exception:
                    pass
        """,
    )
    folded = caller.replay()
    assert [f.offset for f in caller.failures(folded)] == [1]
    assert History(caller.workspace, folded).state_at("a", 1).offset == 0
    assert [offset for offset, _, _ in caller.changes(folded)] == [0, 2]


def test_commands_are_not_sent_unless_their_port_is_named(caller: Caller, outside: Outside):
    caller.ports = {
        "shop": {"live": outside.url},
        "mail": {"live": outside.url, "stub": {"sent": 0}},
    }
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["shop"] = gateway.command("shop", "buy", {"n": 1})
            state["mail"] = gateway.command("mail", "send", {"to": "x"})
        """,
    )
    made = caller.record()
    assert (made.suppressed_count, outside.count) == (2, 0)
    assert caller.states(caller.replay()) == [{"shop": None, "mail": {"sent": 0}}]
    made = caller.record(send=("shop",))
    assert (made.suppressed_count, outside.count) == (1, 1)
    assert [(m, p, b) for m, p, _, b in outside.reached] == [("POST", "/buy", b'{"n":1}')]
    expected = [{"shop": {"n": 1, "path": "/buy"}, "mail": {"sent": 0}}]
    assert caller.states(caller.replay()) == expected
    # A second recording run doesn't send it again, and keeps its answer.
    for send in ((), ("shop",)):
        made = caller.record(send=send)
        assert (made.suppressed_count, outside.count) == (2, 1)
        assert caller.states(caller.replay()) == expected
    assert caller.record(send=("nobody",)).uncalled_ports == ["nobody"]


def test_the_mode_sealed_blocks_every_call(caller: Caller, outside: Outside):
    caller.events(("a", "T", {"pair": "X"}))
    caller.file("p.py", ASKS)
    caller.record()
    before = outside.count
    folded = caller.replay(mode=Mode.SEALED)
    assert caller.states(folded) == []
    assert [d.decision for d in caller.decided(folded)] == ["blocked"]
    assert len(caller.states(caller.replay())) == 1
    assert outside.count == before


def test_live_keeps_nothing_and_audit_reports_changed_answers(caller: Caller, outside: Outside):
    caller.events(("a", "T", {"pair": "X"}), ("a", "T", {"pair": "Y"}))
    caller.file("p.py", ASKS)
    caller.record(mode=Mode.LIVE)
    assert (outside.count, recording_store.count_recordings(caller.workspace)) == (2, 0)
    caller.record()
    caller.record(mode=Mode.AUDIT)
    assert [(c.recording.offset, c.differences) for c in caller.changed] == [
        (0, [".n: 3 → 5"]),
        (1, [".n: 4 → 6"]),
    ]
    assert caller.states(caller.replay()) == [{"n": 3}, {"n": 4}]


def test_new_recordings_cause_a_new_fold(caller: Caller):
    caller.events(("a", "T", {"pair": "X"}))
    caller.file("p.py", ASKS)
    caller.record()
    assert caller.states(caller.replay()) == [{"n": 1}]
    caller.record()
    assert caller.states(caller.replay()) == [{"n": 2}]
    record = find_fold(caller.workspace, caller.refer())
    assert record is None or record.are_recordings_unchanged


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("latest", {"n": 1}),
        ("nearest", {"n": 2}),
        ("stub", {"n": "stub"}),
    ],
)
def test_fallbacks_answer_a_missed_call(caller: Caller, step, answer):
    caller.events(("a", "T", {"pair": "X"}), ("a", "T", {"pair": "Y"}))
    caller.file("p.py", ASKS)
    caller.record()
    caller.ports["fx"] |= {"missing": [step], "stub": {"n": "stub"}}
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            pair = "X" if event.offset else event.data["pair"]
            state["n"] = gateway.query("fx", "rate", {"pair": pair})["n"]
        """,
    )
    folded = caller.replay()
    assert caller.states(folded)[-1:] == ([answer] if answer != {"n": 1} else [{"n": 1}])
    last = caller.decided(folded)[-1]
    assert last.decision == ("stubbed" if step == "stub" else "recorded")
    assert last.reason != "answered from the recording"


def test_the_fallback_record_reports_an_anachronism(caller: Caller, outside: Outside):
    caller.ports["fx"]["missing"] = ["record"]
    caller.events(("a", "T", {"pair": "X"}))
    caller.file("p.py", ASKS)
    folded = caller.replay()
    assert caller.states(folded) == [{"n": 1}]
    assert outside.count == 1
    [went] = caller.decided(folded)
    assert (went.decision, went.reason) == ("live", "made live today: an anachronism")
    # The answer was kept, so the call is not made again.
    assert caller.states(caller.replay()) == caller.states(caller.replay(force=True)) == [{"n": 1}]
    assert outside.count == 1


def test_a_secret_answered_during_a_replay_reaches_no_state(caller: Caller, outside: Outside):
    outside.answer = lambda handler: handler.say(200, {"access_token": "SECRET-of-today-1"}) or True
    caller.ports["fx"]["missing"] = ["record"]
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            state["token"] = gateway.query("fx", "login")["access_token"]
        """,
    )
    [state] = caller.states(caller.replay())
    assert state["token"].startswith("redacted-")
    assert "SECRET-of-today-1" not in caller.everything()


def test_the_fallback_ask_asks_a_person(caller: Caller):
    from gateway.calls import Answer

    caller.ports["fx"]["missing"] = ["ask"]
    caller.events(("a", "T", {"pair": "X"}))
    caller.file("p.py", ASKS)
    folded = caller.replay(
        ask=lambda call, near: Answer.from_value({"n": [call.request, len(near)]})
    )
    assert caller.states(folded) == [{"n": [{"pair": "X"}, 0]}]


def test_an_undeclared_port_is_reported_and_not_recorded(caller: Caller, outside: Outside):
    caller.ports = {}
    caller.events(("a", "T", {"pair": "X"}))
    caller.file("p.py", ASKS)
    made = caller.record()
    assert (made.call_count, made.error_count, outside.count) == (0, 1, 0)
    assert "the port fx doesn't declare how to call it" in made.first_missed


def test_calls_of_a_program_cannot_be_recorded(caller: Caller):
    caller.events(("a", "T", {}))
    with pytest.raises(ProjectionError, match="can't record calls"):
        caller.record("cmd:cat")


def test_each_document_of_one_event_has_its_own_calls(caller: Caller, outside: Outside):
    caller.events(("a", "T", {"to": ["x", "y", "z"]}))
    caller.file(
        "p.py",
        """
        def key(event):
            return event.data["to"]
        def apply(state, event, gateway):
            state["n"] = gateway.query("fx", "rate", {"same": True})["n"]
        """,
    )
    caller.record()
    expected = [(0, "x", {"n": 1}), (0, "y", {"n": 2}), (0, "z", {"n": 3})]
    assert caller.changes(caller.replay()) == expected
    assert caller.changes(caller.replay(force=True, workers=2)) == expected


def test_async_handlers_and_threads_are_answered(caller: Caller, outside: Outside):
    caller.events(*[("a", "T", {"n": n}) for n in range(5)])
    caller.file(
        "p.py",
        f"""
        import requests
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(16)
        def get(n):
            return requests.get("{outside.url}/t", params={{"n": n}}).json()["path"]
        async def apply(state, event, gateway):
            first = event.data["n"] * 40
            state["got"] = list(pool.map(get, range(first, first + 40)))
            state["rate"] = (await gateway.aquery("fx", "rate", event.data["n"]))["n"]
        """,
    )
    made = caller.record()
    assert (made.call_count, made.error_count, outside.count) == (205, 0, 205)
    folded = caller.replay()
    assert caller.failures(folded) == []
    assert [s["got"] for s in caller.states(folded)] == [
        [f"/t?n={n}" for n in range(first, first + 40)] for first in range(0, 200, 40)
    ]
    calls = caller.decided(folded)
    assert len(calls) == 205
    assert {d.decision for d in calls} == {"recorded"}
    for one in calls:
        if one.operation == "GET /t":
            number = int(json.loads(one.request)["url"].partition("n=")[2])
            assert number // 40 == one.offset
    assert outside.count == 205


def test_clients_get_complete_responses(caller: Caller, outside: Outside):
    """Cookies, lengths, times, streams, and the client's own timeout."""

    def answer(handler):
        import time

        if handler.path == "/slow":
            time.sleep(3)
        if handler.path == "/cookies":
            handler.say(200, {}, [("Set-Cookie", "csrf=abcdefgh; Path=/"), ("Set-Cookie", "b=1")])
            return True
        return False

    outside.answer = answer
    caller.events(("a", "T", {}))
    caller.file(
        "p.py",
        f"""
        import requests, httpx
        def apply(state, event):
            url = "{outside.url}"
            state["cookies"] = sorted(requests.get(url + "/cookies").cookies.keys())
            head = requests.head(url + "/head")
            state["head"] = int(head.headers["content-length"]) > 10
            state["elapsed"] = httpx.get(url + "/x").elapsed.total_seconds() >= 0
            with httpx.stream("GET", url + "/stream") as response:
                state["stream"] = len(b"".join(response.iter_bytes())) > 10
            for client in (requests, httpx):
                try:
                    client.get(url + "/slow", timeout=0.5)
                except (requests.Timeout, httpx.TimeoutException) as error:
                    state[client.__name__] = type(error).__name__
        """,
    )
    caller.record()
    folded = caller.replay()
    assert caller.failures(folded) == []
    assert caller.states(folded) == [
        {
            "cookies": ["b", "csrf"],
            "head": True,
            "elapsed": True,
            "stream": True,
            "requests": "ReadTimeout",
            "httpx": "ReadTimeout",
        }
    ]


def test_a_request_that_is_not_json_is_not_made(caller: Caller):
    caller.events(("a", "T", {}), ("a", "T", {}))
    caller.file(
        "p.py",
        """
        def apply(state, event, gateway):
            gateway.query("fx", "rate", {"x": float("nan") if event.offset else object()})
        """,
    )
    for failure in caller.failures(caller.replay()):
        assert "the request of fx.rate can't be encoded as JSON" in failure.error


def test_a_thread_that_outlives_its_event_gets_no_answer_of_another_event(
    caller: Caller, outside: Outside
):
    caller.events(*[("a", "T", {"n": n}) for n in range(3)])
    caller.file(
        "p.py",
        """
        import threading, time
        errors = []
        def late(gateway):
            time.sleep(0.3)
            try:
                gateway.query("fx", "rate", {})
            except Exception as error:
                errors.append(str(error))
        def apply(state, event, gateway):
            if event.offset == 0:
                threading.Thread(target=late, args=(gateway,)).start()
            elif event.offset == 2:
                time.sleep(0.6)
                state["errors"] = list(errors)
            state["n"] = event.offset
        """,
    )
    folded = caller.replay()
    last = caller.states(folded)[-1]
    assert last["errors"] == ["fx rate was called after its event, at offset 0"]


def test_a_killed_recording_run_keeps_answers_and_pending_commands(
    caller: Caller, outside: Outside
):
    import os
    import signal
    import subprocess
    import sys
    import time
    from pathlib import Path

    def answer(handler):
        if handler.command == "POST":
            time.sleep(30)
        return False

    outside.answer = answer
    caller.events(*[("a", "T", {"pair": str(n)}) for n in range(20)])
    caller.file(
        "p.py",
        ASKS + "    if event.offset == 15: gateway.command('fx', 'buy', {})\n",
    )
    (caller.folder / "refold.toml").write_text(f'[ports.fx]\nlive = "{outside.url}"\n')
    command = [sys.executable, "-m", "tui.cli", "record", str(caller.path), "-p", "p.py"]
    caller.workspace.release()
    process = subprocess.Popen(
        [*command, "--config", "refold.toml", "--send", "fx"],
        cwd=caller.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not any(method == "POST" for method, *_ in outside.reached):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(2.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = list(recording_store.iterate_recordings(caller.workspace))
    assert [one.answer.outcome.value for one in found if one.call.kind.value == "command"] == [
        "pending"
    ]
    assert len([one for one in found if one.answer.outcome.value == "ok"]) >= 15
    folded = caller.replay()
    [pending] = [d for d in caller.decided(folded) if d.kind == "command"]
    assert "its outcome is unknown" in pending.reason
    assert History(caller.workspace, folded).failures_at(15)


def test_a_missed_call_swallowed_in_the_key_function_fails_its_event(caller: Caller):
    caller.events(("a", "T", {}), ("b", "T", {}))
    caller.file(
        "p.py",
        """
        import requests
        def key(event):
            if event.offset == 0:
                try:
                    requests.get("http://127.0.0.1:1/key")
                except Exception:
                    pass
            return event.stream
        def apply(state, event):
            state["n"] = event.offset
        """,
    )
    folded = caller.replay()
    assert [f.offset for f in caller.failures(folded)] == [0]
    assert caller.changes(folded) == [(1, "b", {"n": 1})]
