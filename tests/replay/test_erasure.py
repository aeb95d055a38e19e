"""Events and values are erased from the log, forks, calls, bookmarks, and the bytes of the file."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay import value_search
from replay.erasure import ErasureRequest, ErasureResult, erase
from replay.history import catalogue
from storage.db.query import fetch_arrow
from storage.errors import CancelledError, RefoldError
from storage.ingest import loader
from storage.log.event_log import EventLog
from storage.marks import bookmarks, watches
from storage.timelines import fork_store, forked_workspace
from storage.workspace import new_workspace, schema
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fork_bench import PROJECTION, Bench, event
from tests.support.properties import examples

NAME = "ann.s3cret@example.org"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def everything(path):
    """Return the content of all tables of the workspace, and the bytes of its file."""
    with WorkspaceFile(path).reading() as connection:
        said = [str(fetch_arrow(connection, f"FROM {t.name}").to_pylist()) for t in schema.TABLES]
    assert not path.with_name(f"{path.name}.wal").exists()
    return "".join(said) + path.read_bytes().decode("latin-1")


@pytest.fixture
def talkative(bench: Bench):
    """Return a workspace that contains a name in every place that can hold one."""
    workspace = bench.workspace
    with workspace.writing() as connection:
        connection.execute("UPDATE events SET stream = ? WHERE stream = 'c'", [NAME])
        connection.execute(
            'UPDATE events SET data = ?, meta = ? WHERE "offset" IN (3, 8)',
            [json.dumps({"by": 1, "who": {"email": NAME}}), json.dumps({"user": NAME})],
        )
        for number, (at, key, request, body) in enumerate(
            [
                (2, NAME, "1", None),
                (4, "e", json.dumps({"to": NAME}), None),
                (5, "a", "2", "told"),
                (6, "b", "3", "packed"),
                (9, "e", "4", "other"),
            ]
        ):
            connection.execute(
                'INSERT INTO calls (call, "offset", key, request, body, port, operation) VALUES'
                " (?, ?, ?, ?, ?, 'http', 'GET')",
                [number, at, key, request, body],
            )
        connection.execute(
            "INSERT INTO bodies (body, text, bytes) VALUES ('told', ?, NULL),"
            " ('packed', NULL, ?), ('other', 'nobody', NULL)",
            [f"dear {NAME}", f"\x00dear {NAME}".encode()],
        )
        connection.execute(
            "INSERT INTO rejects VALUES (0, 7, 'no JSON', ?), (0, 8, 'no JSON', 'else')",
            [f"x {NAME}"],
        )
    for at, note in ((2, "here"), (5, f"ask {NAME}"), (9, "stays")):
        bookmarks.add_bookmark(
            workspace, offset=at, note=note, projection=None, key=None, path=None
        )
    watches.add_watch(workspace, "events", f"stream = '{NAME}'")
    watches.add_watch(workspace, "events", "stream = 'a'")
    fork = bench.fork(
        "f",
        lambda made: [
            made.set(2, "by", "100"),
            made.insert(4, event(NAME, 7)),
            made.set(3, "by", "50"),
            made.drop(10),
        ],
    )
    fork_store.set_note(workspace, "f", f"for {NAME}")
    bench.history()
    bench.history(fork)
    return bench


def test_an_erased_stream_is_nowhere_in_the_workspace(talkative):
    workspace = talkative.workspace
    before = {n: talkative.total(talkative.history(), n) for n in "abde"}
    with workspace.writing() as connection:  # values in other events are only counted
        connection.execute('UPDATE edits SET data = \'{"by": 1}\', meta = NULL WHERE "offset" = 3')
        connection.execute(
            'UPDATE events SET data = \'{"by": 1}\', meta = NULL WHERE "offset" IN (3, 8)'
        )
    removed = erase(workspace, ErasureRequest(streams=[NAME]))
    assert removed == ErasureResult(6, 4, 2, 2, 1, 1, 1, 2, {}), removed
    assert NAME not in everything(workspace.path)
    log = EventLog(workspace)
    assert log.read_extent().event_count == 30
    gone = log.read_event(2)
    assert (gone.type, gone.stream, gone.id, gone.data) == ("refold.Removed", None, None, None)
    assert catalogue.list_folds(workspace) == []
    history = talkative.history()
    assert {n: talkative.total(history, n) for n in "abde"} == before
    assert history.fold_record.document_count == 4
    assert history.fold_record.skipped_events == 0
    assert [mark.note for mark in bookmarks.list_bookmarks(workspace)] == ["stays"]
    assert len(watches.list_watches(workspace)) == 1
    fork = forked_workspace.open_timeline(workspace, "f")
    assert fork.fork.note == ""
    other = talkative.history(fork)
    assert {n: talkative.total(other, n) for n in "abe"} == {n: before[n] for n in "be"} | {
        "a": before["a"] - 10
    }


def test_erased_values_in_other_events_are_counted(talkative):
    removed = erase(talkative.workspace, ErasureRequest(streams=[NAME]))
    assert removed.remains == {"events": 2, "edits": 1}
    found = erase(talkative.workspace, ErasureRequest(value_paths=["data.who.email", "meta.user"]))
    assert found.remains == {}
    assert found.events == 2
    assert NAME not in everything(talkative.workspace.path)
    assert json.loads(EventLog(talkative.workspace).read_event(3).data) == {
        "by": 1,
        "who": {"email": None},
    }


def test_values_that_only_a_fork_contains_are_searched_too(bench: Bench):
    made = json.dumps({"by": 1, "who": {"email": "only@fork.org"}})
    bench.fork("f", lambda m: m.insert(3, event("x", 1).replace('{"by": 1}', made)))
    bench.fork("g", lambda m: m.insert(3, event("only@fork.org", 1)))
    fork_store.set_note(bench.workspace, "f", "what only@fork.org would do")
    bookmarks.add_bookmark(
        bench.workspace, offset=4, note="only@fork.org", projection=None, key=None, path=None
    )
    found = erase(bench.workspace, ErasureRequest(value_paths=["data.who.email"]))
    assert (found.edits, found.notes, found.bookmarks) == (1, 1, 1)
    assert found.remains == {"edits": 1}
    assert "what only" not in everything(bench.workspace.path)


def test_a_longer_name_is_no_match(bench: Bench):
    with bench.workspace.writing() as connection:
        connection.execute(
            "UPDATE events SET stream = 'order-3' || CASE stream WHEN 'a' THEN '' ELSE stream END"
        )
    bench.fork("f", lambda made: made.insert(3, event("order-30", 1)))
    for key in ("order-3", "order-30"):
        bookmarks.add_bookmark(
            bench.workspace, offset=1, note="", projection="p", key=key, path="order-3x"
        )
    bookmarks.add_bookmark(
        bench.workspace, offset=1, note="(order-3)", projection="p", key="k", path=None
    )
    removed = erase(bench.workspace, ErasureRequest(streams=["order-3"]))
    assert (removed.events, removed.edits, removed.bookmarks, removed.remains) == (6, 0, 2, {})
    assert [mark.key for mark in bookmarks.list_bookmarks(bench.workspace)] == ["order-30"]


def test_query_projections_do_not_see_erased_events(bench: Bench):
    bench.code("SELECT type AS key, count(*) AS n FROM events GROUP BY ALL", "p.sql")
    erase(bench.workspace, ErasureRequest(streams=["a"], condition="offset < 7"))
    asked = bench.history(name="p.sql")
    assert [d.key for d in asked.documents(0, 10)] == ["Added"]
    state = asked.state_at("Added", 29)
    assert json.loads(state.state) == {"n": 28}


def test_equal_values_get_equal_hashes(talkative):
    erase(
        talkative.workspace,
        ErasureRequest(redacted_paths=["data.who.email", "meta.user", "stream"]),
    )
    assert NAME not in everything(talkative.workspace.path)
    log = EventLog(talkative.workspace)
    hashed = {json.loads(log.read_event(n).data)["who"]["email"] for n in (3, 8)}
    assert hashed == {log.read_event(2).stream}
    assert hashed.pop().startswith("redacted-")


def test_only_matching_events_are_erased(talkative):
    erase(
        talkative.workspace, ErasureRequest(condition="offset = 3", value_paths=["data.who.email"])
    )
    log = EventLog(talkative.workspace)
    assert json.loads(log.read_event(3).data)["who"] == {"email": None}
    assert json.loads(log.read_event(8).data)["who"] == {"email": NAME}


def test_later_loads_are_redacted_too(tmp_path: Path):
    source = tmp_path / "log.jsonl"
    row = {"id": "1", "stream": "a", "type": "T", "data": {"email": NAME}}
    source.write_text(json.dumps(row) + "\n")
    loader.load_source([str(source)], tmp_path / "log.refold")
    erase(WorkspaceFile(tmp_path / "log.refold"), ErasureRequest(value_paths=["data.email"]))
    with source.open("a") as stream:
        stream.write(json.dumps({**row, "id": "2"}) + "\n")
    loader.load_source([str(source)], tmp_path / "log.refold")
    log = EventLog(WorkspaceFile(tmp_path / "log.refold"))
    assert json.loads(log.read_event(0).data) == {"email": None}
    assert json.loads(log.read_event(1).data)["email"].startswith("redacted-")
    assert NAME not in everything(tmp_path / "log.refold")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (ErasureRequest(), "Nothing to remove. Give --stream"),
        (ErasureRequest(streams=["nobody"]), "No event has the stream 'nobody'"),
        (ErasureRequest(condition="type = 'Other'"), "No event matches"),
        (ErasureRequest(condition="type ="), "doesn't parse"),
        (
            ErasureRequest(streams=["a"], condition="stream = 'b'"),
            "No event of these streams matches",
        ),
        (
            ErasureRequest(value_paths=["data.nothing"]),
            "None of these events has a value at data.nothing",
        ),
        (
            ErasureRequest(value_paths=["stream"]),
            "Invalid path in --value stream. Begin it with one of data, meta",
        ),
        (
            ErasureRequest(redacted_paths=["time"]),
            "Invalid path in --redact time. Begin it with one of",
        ),
    ],
)
def test_an_impossible_erasure_is_refused_and_changes_nothing(bench: Bench, wish, said):
    bench.history()
    before = bench.workspace.path.read_bytes()
    with pytest.raises(RefoldError, match=said):
        erase(bench.workspace, wish)
    bench.workspace.release()
    assert bench.workspace.path.read_bytes() == before
    assert [p.name for p in bench.folder.glob("log.refold*")] == ["log.refold"]


def test_a_cancelled_erasure_removes_nothing(bench: Bench):
    with pytest.raises(CancelledError):
        erase(bench.workspace, ErasureRequest(streams=["a"]), is_cancelled=lambda: True)
    assert EventLog(bench.workspace).read_event(0).stream == "a"


@settings(max_examples=examples(15), deadline=None)
@given(
    removed=st.sets(st.sampled_from("abcde"), min_size=1, max_size=5),
    routed=st.booleans(),
    prints=st.booleans(),
)
def test_other_documents_are_as_if_erased_events_never_existed(
    tmp_path_factory, removed, routed, prints
):
    bench = Bench(tmp_path_factory.mktemp("removed"))
    said = 'def key(event): return [event.stream, "all"]\n' if routed else ""
    bench.code(PROJECTION + said + ("def on_Other(state, event): print(1)" if prints else ""))
    erase(bench.workspace, ErasureRequest(streams=sorted(removed)))
    history = bench.history()
    kept = [n for n in range(30) if "abcde"[n % 5] not in removed]
    with bench.workspace.reading() as connection:
        found = connection.execute(
            'SELECT "offset", key, state FROM history ORDER BY change'
        ).fetchall()
    totals = dict.fromkeys("abcde", 0) | {"all": 0}
    expected = []
    for n in kept:
        for key in ["abcde"[n % 5], "all"] if routed else ["abcde"[n % 5]]:
            totals[key] += n
            expected.append((n, key, {"total": totals[key], "last": f"e{n}"}))
    assert [(at, key, json.loads(state)) for at, key, state in found] == expected
    assert history.fold_record.next_offset == 30
    assert history.fold_record.failure_count == 0


KILLED = """
import sys
from pathlib import Path
from replay.erasure import ErasureRequest, erase
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
workspace = WorkspaceFile(Path(sys.argv[1]))
print("ready", flush=True)
erase(workspace, ErasureRequest(streams=["a"]))
"""


def test_a_kill_leaves_the_old_or_the_new_workspace(tmp_path: Path):
    path = tmp_path / "log.refold"
    with new_workspace.create_workspace(path) as connection:
        connection.execute(
            'INSERT INTO events ("offset", stream, type, data) SELECT n, chr(CAST(97 + n % 3 AS INTEGER)),'
            " 'T', '{\"n\":' || n || '}' FROM (SELECT unnest(range(120_000)) AS n)"
        )
    whole = path.read_bytes()
    ends = set()
    for delay in (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 5.0):
        path.write_bytes(whole)
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            deadline = time.monotonic() + delay
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        with WorkspaceFile(path).reading() as connection:
            found = connection.execute(
                "SELECT count(*), count(*) FILTER (stream = 'a') FROM events"
            ).fetchall()
        assert found in ([(120_000, 40_000)], [(120_000, 0)])
        ends.add(found[0][1])
    assert 0 in ends
    erase(WorkspaceFile(path), ErasureRequest(streams=["b"]))
    assert [p.name for p in tmp_path.glob("log.refold*")] == ["log.refold"]


def test_too_many_values_are_not_searched_for_in_the_whole_log(
    talkative, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(value_search, "_MOST_FORMS", 0)
    removed = erase(talkative.workspace, ErasureRequest(value_paths=["data.who.email"]))
    assert (removed.unsearched, removed.remains) == (1, {})
    assert removed.calls == 4
