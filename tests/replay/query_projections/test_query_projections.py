"""Query projections in SQL and Polars: their states, their declarations, and refused queries."""

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.history.history import History
from replay.projection.declaration import is_over_all_events
from replay.projection.offset_span import OffsetSpan
from replay.query import blame, condition_search, invariants
from replay.query_projections import per_key
from replay.query_projections.state_query import StateQuery
from storage.errors import CancelledError, ProjectionError
from storage.log.positions import START
from tests.support.projection_kinds import POLARS, SQL
from tests.support.projection_studio import Studio
from tests.support.properties import examples

UNDECLARED = {
    "counter.sql": SQL.replace("-- refold: own events of stream", ""),
    "counter.py": POLARS.replace("OWN_EVENTS_OF", "_IGNORED"),
}
CHANCE = random.Random(7)
EVENTS = [
    (CHANCE.choice("abcde"), CHANCE.choice(("Added", "Added", "Dropped", "Other")), {"by": n % 7})
    for n in range(60)
]


def _documents(events: list[Any]) -> dict[str, Any]:
    """Return the expected states of the projections, computed in Python."""
    found: dict[str, Any] = {}
    for key, kind, data in events:
        if kind == "Dropped":
            found.pop(key, None)
        elif kind == "Added":
            state = found.setdefault(key, {"name": key, "total": 0, "seen": []})
            state["total"] += data["by"]
            state["seen"] = [*state["seen"], data["by"]][-3:]
    return found


def _at(batches: Any) -> dict[str, Any]:
    rows = [row for batch in batches for row in batch.to_pylist()]
    return {row["key"]: json.loads(row["state"]) for row in rows}


@pytest.fixture(params=list(UNDECLARED))
def undeclared(request: Any, studio: Any) -> str:
    studio.events(*EVENTS)
    studio.file(request.param, UNDECLARED[request.param])
    return str(request.param)


def test_states_and_differences_are_computed_at_any_position_without_a_history(
    studio: Studio, undeclared: str
):
    looked = StateQuery(studio.workspace, studio.refer(undeclared))
    for offset in (START, 0, 17, 59):
        assert _at(looked.scan_documents_at(offset)) == _documents(EVENTS[: offset + 1])
    there = _documents(EVENTS[:41])
    assert _at(looked.scan_documents_at(40, min(there))) == {min(there): there[min(there)]}
    before, after = (_documents(EVENTS[:n]) for n in (21, 51))
    found = {key: (old, new) for key, old, new in looked.scan_documents_changed_between(20, 50)}
    wanted = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert found.keys() == wanted
    for key, (old, new) in found.items():
        assert (old and json.loads(old)) == before.get(key)
        assert (new and json.loads(new)) == after.get(key)


def test_a_folded_span_answers_like_a_whole_history(studio: Studio, undeclared: str):
    folded = studio.fold(undeclared, span=OffsetSpan(20, 40))
    history = History(studio.workspace, folded)
    assert (folded.first_offset, folded.next_offset) == (20, 41)
    assert [folded.has_states_at(at) for at in (18, 19, 40, 41)] == [False, True, True, False]
    for offset in range(19, 41):
        assert _at(history.scan_documents_at(offset)) == _documents(EVENTS[: offset + 1])
    for offset in range(20, 41):
        old, new = (_documents(EVENTS[: offset + n]) for n in (0, 1))
        changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
        assert history.keys_changed_at(offset) == changed
    # Documents before the span are not counted as changes.
    assert history.keys_changed_at(19) == []
    for key in "abcde":
        touches = blame.find_value_changes(
            history, key, ("total",), after=START, until=40, backwards=True
        )
        assert all(20 <= touch.offset <= 40 for touch in touches)
    hits = [
        h
        for s in condition_search.find_became_true(history, "state.total > 3")
        for h in s.transitions
    ]
    assert all(20 <= hit.offset <= 40 for hit in hits)
    became = [
        (offset, key)
        for offset in range(20, 41)
        for key, state in sorted(_documents(EVENTS[: offset + 1]).items())
        if state["total"] > 3 and _documents(EVENTS[:offset]).get(key, {"total": 0})["total"] <= 3
    ]
    assert [(hit.offset, hit.key) for hit in hits] == became


def test_a_span_grows_and_a_distant_span_replaces_it(studio: Studio, undeclared: str):
    studio.fold(undeclared, span=OffsetSpan(20, 30))
    grown = studio.fold(undeclared, span=OffsetSpan(25, 45))
    assert (grown.first_offset, grown.next_offset) == (20, 46)
    assert (
        studio.fold(undeclared, span=OffsetSpan(22, 28)).next_offset == 46
    )  # the span is folded already
    other = studio.fold(undeclared, span=OffsetSpan(50, 55))
    assert (other.first_offset, other.next_offset) == (50, 56)
    assert _at(History(studio.workspace, other).scan_documents_at(52)) == _documents(EVENTS[:53])
    # Without a span, the existing fold is returned.
    assert studio.fold(undeclared).first_offset == 50
    assert studio.fold(undeclared, force=True).first_offset == len(EVENTS)


@pytest.mark.parametrize("source", ["counter.sql", "counter.py"])
@settings(max_examples=examples(8), deadline=None)
@given(data=st.data())
def test_stretches_of_any_length_give_the_states_of_every_position(
    new_studio_of_module: Any, source: str, data: Any
) -> None:
    """With "own events of", a stretch takes as many rounds as its busiest document has events."""
    drawn = st.tuples(
        st.sampled_from("abc"), st.sampled_from(("Added", "Dropped")), st.integers(0, 3)
    )
    events = [(k, t, {"by": n}) for k, t, n in data.draw(st.lists(drawn, min_size=1, max_size=25))]
    studio = new_studio_of_module()
    studio.events(*events)
    studio.file(source, {"counter.sql": SQL, "counter.py": POLARS}[source])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(per_key, "_FIRST_STRETCH_EVENTS", data.draw(st.integers(1, 9)))
        patch.setattr(per_key, "_MAX_POOL_EVENTS", 10)
        folded = studio.fold(source)
    studio.changes(folded)  # checks the numbers of the changes
    history = History(studio.workspace, folded)
    for offset in range(len(events)):
        assert _at(history.scan_documents_at(offset)) == _documents(events[: offset + 1])


def test_documents_need_not_be_streams(studio: Studio):
    studio.events(
        *[("s", "Sold", {"sku": sku, "qty": n}) for n, sku in enumerate("abacab")],
        ("s", "Else", {}),
    )
    studio.file(
        "p.sql",
        "\ufeff-- refold: own events of data->>'sku'\n"
        "-- refold: invariant few: state.qty < 4\n"
        "SELECT data->>'sku' AS key, sum(CAST(data->>'qty' AS INT)) AS qty FROM events"
        " WHERE key IS NOT NULL GROUP BY key",
    )
    history = studio.history("p.sql")
    assert history.is_routed
    assert [(o, k, s["qty"]) for o, k, s in studio.changes(history.fold_record)] == [
        *((0, "a", 0), (1, "b", 1), (2, "a", 2), (3, "c", 3), (4, "a", 6), (5, "b", 6))
    ]
    assert [(b.offset, b.key) for b in invariants.find_violations(history)] == [(4, "a"), (5, "b")]


def test_states_are_encoded_by_the_rules(studio: Studio):
    studio.events(("s", "T", {}))
    studio.file(
        "p.sql",
        """-- refold: own events of stream
        SELECT stream AS key, 0.10 AS money, CAST('nan' AS DOUBLE) AS nan, 1e300 * -1e300 AS low,
        1.5::DOUBLE AS half, TIMESTAMP '2026-01-02 03:04:05' AS at, 'ab'::BLOB AS bytes,
        NULL AS none, [1, 2] AS list, {'a': 'ü"'} AS struct, 12345678901234567890123::HUGEINT AS big,
        DATE '2026-01-02' AS day, true AS yes, data->'x' AS missing,
        [TIMESTAMP '2026-01-02 03:04:05', NULL] AS times, {'m': 1.10, 'b': ['ab'::BLOB]} AS inside,
        MAP {'a"b': 0.50, 'c': NULL} AS map, [[CAST('inf' AS DOUBLE)]] AS deep,
        CAST(NULL AS DECIMAL(4, 2)[]) AS nothing, '{"a":\n [0.10]}'::JSON AS json,
        '-- refold: hello' AS text FROM events -- refold: invariant a: state.half > 1
        ; ;""",
    )
    folded = studio.fold("p.sql")
    with studio.workspace.reading() as connection:
        ((text,),) = connection.execute("SELECT state FROM history").fetchall()
    assert text == (
        '{"money":0.10,"nan":"NaN","low":"-Infinity","half":1.5,"at":"2026-01-02T03:04:05",'
        '"bytes":"YWI=","none":null,"list":[1,2],"struct":{"a":"ü\\""},'
        '"big":12345678901234567890123,"day":"2026-01-02","yes":true,"missing":null,'
        '"times":["2026-01-02T03:04:05",null],"inside":{"m":1.10,"b":["YWI="]},'
        '"map":{"a\\"b":0.50,"c":null},"deep":[["Infinity"]],"nothing":null,'
        '"json":{"a":  [0.10]},"text":"-- refold: hello"}'
    )
    assert folded.round_trips_json


def test_a_failing_query_names_the_event_and_keeps_earlier_states(studio: Studio):
    studio.events(*[("s", "T", {"n": str(n)}) for n in range(30)], ("s", "T", {"n": "many"}))
    studio.file(
        "p.sql",
        "-- refold: own events of stream\n"
        "SELECT stream AS key, sum(CAST(data->>'n' AS INTEGER)) AS n FROM events GROUP BY stream",
    )
    with pytest.raises(ProjectionError, match=r"p fails at offset 30: .*'many'"):
        studio.fold("p.sql")
    assert studio.found("p.sql").next_offset == 30
    assert studio.changes(studio.found("p.sql"))[-1] == (29, "s", {"n": sum(range(30))})


@pytest.mark.parametrize("file", ["p.sql", "p.py"])
def test_the_first_failing_event_is_found_even_if_later_ones_succeed(studio: Studio, file):
    """Even if its document recovers, or if other documents fail later but in an earlier round."""
    values = {40: "x", 90: "y", 120: "z"}
    studio.events(*[(f"s{n % 7}", "T", {"v": values.get(n, str(n))}) for n in range(150)])
    studio.file(
        "p.sql",
        "-- refold: own events of stream\nSELECT stream AS key, CAST(arg_max(data->>'v', \"offset\")"
        " AS INTEGER) AS last FROM events GROUP BY stream",
    )
    studio.file(
        "p.py",
        """
        import polars as pl
        OWN_EVENTS_OF = "stream"
        def project(events):
            last = pl.col("data").str.json_path_match("$.v").last().cast(pl.Int64)
            return events.group_by(key="stream").agg(last=last)
        """,
    )
    with pytest.raises(ProjectionError, match=r"p .* at offset 40"):
        studio.fold(file)
    assert studio.found(file).next_offset == 40


def test_rows_without_a_key_are_skipped_and_unowned_events_must_give_no_document(studio: Studio):
    studio.events(("s", "T", {}), {"id": "x", "stream": None, "type": "T", "data": {}})
    query = "SELECT stream AS key, count(*) AS n FROM events GROUP BY stream"
    studio.file("u.sql", query)
    studio.file("d.sql", "-- refold: own events of stream\n" + query)
    assert _at(StateQuery(studio.workspace, studio.refer("u.sql")).scan_documents_at(1)) == {
        "s": {"n": 1}
    }
    assert studio.changes(studio.fold("d.sql")) == [(0, "s", {"n": 1})]
    studio.file("d.sql", "-- refold: own events of stream\n" + query.replace("stream AS", "'x' AS"))
    with pytest.raises(
        ProjectionError,
        match="declares 'own events of stream', but events for which this is NULL change the document 'x'",
    ):
        studio.fold("d.sql")


REFUSED = {
    "SELECT stream AS id FROM events": "gives no column called key",
    "SELECT 'x' AS key, 1 AS a, 2 AS \"A\" FROM events": "gives two columns called 'a'",
    "SELECT stream AS key FROM history": "sees events only",
    "SELECT stream AS key FROM log.main.events": "sees events only",
    "SELECT stream AS key FROM pool": "sees events only",
    "SELECT stream AS key, '{\"a\": NaN}'::JSON AS j FROM events LIMIT 1": "which JSON can't hold",
    "-- refold: own events of a\n-- refold: own events of b\nSELECT 1 AS key": "'own events of' twice",
    "-- refold: own events of random()\nSELECT stream AS key FROM events": "isn't the same each",
    "SELECT 'x' AS key": "change the document 'x'",
    "SELECT stream AS key FROM events": "gives two documents with the key 's' at offset 1",
    "SELECT 'x' AS key FROM events LIMIT 1": "the document 'x', which owns none of the events",
    "SELECT stream AS key FROM nowhere": "reads the table nowhere",
    "SELECT strem AS key FROM events": "fails at offset 0: .*strem",
    "SELEC": "doesn't parse",
    "DELETE FROM events": "would change the workspace",
    "SELECT 1; SELECT 2": "one statement",
    "": "one statement",
    "FROM read_csv('/etc/passwd')": "sees events only",
    "-- refold: own events\nSELECT 1 AS key": "Use 'own events of COLUMN'",
    "-- refold: own events of nobody\nSELECT 1 AS key": "isn't a valid expression over events",
}


@pytest.mark.parametrize("query", REFUSED)
def test_an_invalid_query_is_refused_with_one_sentence(studio: Studio, query):
    studio.events(("s", "T", {}), ("s", "T", {}))
    own = "" if "-- refold" in query else "-- refold: own events of stream\n"
    studio.file("p.sql", own + query)
    with pytest.raises(ProjectionError, match=REFUSED[query]) as refused:
        studio.fold("p.sql")
    assert "\n" not in refused.value.message
    assert re.search(r"[.!]$", refused.value.message)


REFUSED_FRAMES = {
    "async def project(events): ...": "must be a function that is not async",
    "import polars as pl\ndef project(events):\n"
    "    return pl.DataFrame({'key': ['a'], 'o': [object()]})": "column o holds Python objects",
    "def project(events): return 5": "returned a int",
    "def project(events): return events.select('stream')": "gives no column called key",
    "def project(events): raise ValueError('no')": "raised ValueError: no at offset",
    "def project(events): return events.select(key='offset', n='missing')": "missing",
    "OWN_EVENTS_OF = 5\ndef project(events): ...": "must be a text",
    "INVARIANTS = {'a': len}\ndef project(events): ...": "is a function",
    "import sys\ndef project(events): sys.exit(3)": "exited with code 3",
    "raise KeyError('x')\ndef project(events): ...": "can't be loaded: KeyError",
}


@pytest.mark.parametrize("source", REFUSED_FRAMES)
def test_an_invalid_polars_function_is_refused_with_one_sentence(studio: Studio, source):
    studio.events(("s", "T", {}))
    studio.file("p.py", source)
    with pytest.raises(ProjectionError, match=REFUSED_FRAMES[source]):
        studio.fold("p.py")


def test_a_document_with_too_many_events_is_refused_except_over_a_span(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(per_key, "MAX_EVENTS_PER_DOCUMENT", 10)
    studio.events(*[("s", "Added", {"by": 1}) for _ in range(20)])
    studio.file("p.sql", SQL)
    with pytest.raises(ProjectionError, match="'s' has 20 events"):
        studio.fold("p.sql")
    history = studio.history("p.sql", span=OffsetSpan(12, 14))
    assert [s["total"] for _, _, s in studio.changes(history.fold_record)] == [12, 13, 14, 15]


def test_a_cancelled_fold_keeps_its_states(studio: Studio):
    studio.events(*EVENTS)
    studio.file("p.sql", UNDECLARED["counter.sql"])
    asked = iter(range(1_000))
    with pytest.raises(CancelledError):
        studio.fold("p.sql", span=OffsetSpan(10, 50), cancelled=lambda: next(asked) > 25)
    assert 10 <= studio.found("p.sql").next_offset < 51
    assert studio.fold("p.sql", span=OffsetSpan(10, 50)).next_offset == 51


def test_only_queries_over_all_events_are_recognized_as_such(studio: Studio):
    studio.file("a.py", "def project(events): ...")
    studio.file("b.py", "def project(events): ...\ndef on_Added(state, event): ...")
    studio.file("c.py", "class Orders:\n    def project(self, events): ...")
    studio.file("d.py", "def project(:")
    studio.file("e.sql", "")
    for text, over in {
        "a.py": True,
        "b.py": False,
        "c.py": False,
        "c.py:Orders": True,
        "d.py": False,
        "e.sql": True,
    }.items():
        assert is_over_all_events(studio.refer(text).text) is over, text


def test_a_polars_query_receives_the_columns_that_it_requests(studio: Studio):
    """Any columns, also twice in one query, and with conditions that Polars pushes down."""
    studio.events(*EVENTS)
    studio.file(
        "p.py",
        """
        import polars as pl
        def project(events):
            first = events.group_by("stream").agg(pl.col("offset").min().alias("first"))
            many = events.filter(pl.col("type") == "Added").group_by("stream").len("added")
            times = events.select("stream", "time").group_by("stream").agg(pl.col("time").max())
            return (first.join(many, on="stream").join(times, on="stream")
                .rename({"stream": "key"}).collect())
        """,
    )
    looked = StateQuery(studio.workspace, studio.refer("p.py"))
    found = _at(looked.scan_documents_at(59))
    for key in "abcde":
        mine = [n for n, event in enumerate(EVENTS) if event[0] == key]
        added = sum(EVENTS[n][1] == "Added" for n in mine)
        assert found[key] == {"first": mine[0], "added": added, "time": None}
