"""Repeated ids, revisions that jump or repeat, times that run backwards: counted at load, and listed."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.log import irregularities
from storage.log.irregularities import Irregularity
from tests.support.properties import examples


def row(n: int, **others: Any) -> dict[str, Any]:
    return {"id": f"e{n}", "stream": "s", "revision": n, "type": "T", "data": {}, **others}


def test_every_kind_is_found(desk: Any) -> None:
    rows = [
        row(0, time="2026-01-03T12:00:00Z"),
        row(1, time="2026-01-03T12:00:01Z"),
        row(5, time="2026-01-03T12:00:02Z"),
        row(5, id="e1", time="2026-01-03T12:00:03Z"),
        row(6, time="2026-01-03T12:00:01Z"),
        row(0, id="other", stream="t", time="2026-01-03T11:00:00Z"),
        row(7, time=None),
    ]
    # So few rows don't suffice to recognise the revision and the id.
    fields = {"revision": "revision", "id": "id"}
    loaded = desk.load(desk.write(desk.text(*rows)), field_columns=fields)
    assert list(irregularities.find_irregularities(desk.open())) == [
        Irregularity(2, "s", "revision jumps", "1", "5"),
        Irregularity(3, "s", "repeated id", "1", "e1"),
        Irregularity(3, "s", "revision repeats", "5", "5"),
        Irregularity(
            4, "s", "time runs backwards", "2026-01-03 12:00:03+00", "2026-01-03 12:00:01+00"
        ),
    ]
    known = irregularities.read_summary(desk.open())
    assert known.offsets == (2, 3, 4)
    assert set(known.counts.values()) == {1}
    text = " ".join(loaded.log.describe_oddities())
    assert "1 event whose revision jumps over others of its stream" in text
    assert "1 of them than the one before in its stream" in text


def test_a_stream_may_begin_anywhere(desk: Any) -> None:
    desk.load(desk.write(desk.text(row(7), row(8))))
    assert list(irregularities.find_irregularities(desk.open())) == []


def test_appended_events_are_compared_with_earlier_ones(desk: Any) -> None:
    path = desk.write(desk.text(row(0), row(1, stream="t", id="t1")))
    desk.load(path)
    desk.grow(path, desk.text(row(3), row(2, stream="t", id="t1")))
    desk.load(path)
    kinds = [(one.offset, one.kind) for one in irregularities.find_irregularities(desk.open())]
    assert kinds == [(2, "revision jumps"), (3, "repeated id")]
    assert irregularities.read_summary(desk.open()).offsets == (2, 3)
    assert irregularities.read_summary(desk.open()).counts == {
        "revision jumps": 1,
        "repeated id": 1,
    }


events = st.tuples(
    st.sampled_from(["a", "b"]), st.integers(0, 4), st.integers(0, 3), st.integers(0, 6)
)


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(events, min_size=1, max_size=12), st.integers(0, 12))
def test_loading_in_two_parts_finds_what_a_plain_loop_finds(
    tmp_path_factory: Any, rows: list[tuple[str, int, int, int]], cut: int
) -> None:
    from tests.support.source_desk import Desk

    desk = Desk(tmp_path_factory.mktemp("irregular"))
    last: dict[str, tuple[int, int]] = {}
    ids: dict[int, int] = {}
    wanted = []
    for offset, (stream, revision, second, number) in enumerate(rows):
        if number in ids:
            wanted.append((offset, "repeated id"))
        if stream in last:
            was, time = last[stream]
            if revision != was + 1:
                wanted.append((offset, "revision jumps" if revision > was else "revision repeats"))
            if second < time:
                wanted.append((offset, "time runs backwards"))
        ids.setdefault(number, offset)
        last[stream] = (revision, second)
    written = [
        row(0, stream=s, revision=r, id=f"e{i}", time=f"2026-01-03T12:00:0{t}Z")
        for s, r, t, i in rows
    ]
    fields = {name: name for name in ("id", "stream", "revision", "type", "time", "data")}
    cut = max(1, min(cut, len(rows)))
    path = desk.write(desk.text(*written[:cut]))
    desk.load(path, field_columns=fields)
    if written[cut:]:
        desk.grow(path, desk.text(*written[cut:]))
        desk.load(path)
    found = [(one.offset, one.kind) for one in irregularities.find_irregularities(desk.open())]
    assert found == sorted(wanted)
    known = irregularities.read_summary(desk.open())
    assert sum(known.counts.values()) == len(wanted)
    assert set(known.offsets) == {offset for offset, _ in wanted}
