"""Loading again: what is new is appended, once; what isn't the same source is refused."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.errors import SourceError, WorkspaceError
from storage.ingest.loader import LoadOptions, load_source


def test_torn_last_line_arrives_once_when_it_is_whole(desk: Any) -> None:
    whole = desk.text(desk.event(2, data={"name": "Zoë"}), desk.event(3))
    for cut in (1, 30, whole.index("Zo"), len(whole.split("\n")[0]) - 1):
        desk.target.unlink(missing_ok=True)
        path = desk.write(desk.text(desk.event(1)) + whole[:cut])
        desk.load(path)
        assert desk.column("id") == ["e1"]
        ((line, reason, _),) = desk.rejects()
        assert line == 2
        assert "the file ends inside this line" in reason
        desk.grow(path, whole[cut:])
        assert desk.load(path).appended == 2
        assert desk.column("id") == ["e1", "e2", "e3"]
        assert desk.column("line") == [1, 2, 3]
        assert desk.rejects() == []


def test_line_torn_inside_a_character_arrives_once(desk: Any) -> None:
    whole = desk.text(desk.event(2, data={"name": "Zoë"}), desk.event(3)).encode()
    cut = whole.index("ë".encode()) + 1
    path = desk.write(desk.text(desk.event(1)).encode() + whole[:cut])
    desk.load(path)
    assert desk.load(path).appended == 0
    assert len(desk.rejects()) == 1
    desk.grow(path, whole[cut:])
    assert desk.load(path).appended == 2
    assert desk.column("id") == ["e1", "e2", "e3"]
    assert desk.rejects() == []


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_last_line_without_a_break_is_taken_and_counted_once(desk: Any, ending: str) -> None:
    path = desk.write(desk.text(desk.event(1), desk.event(2))[:-1])
    assert desk.load(path).appended == 2
    assert desk.load(path).appended == 0
    desk.grow(path, ending + desk.text(desk.event(3)))
    assert desk.load(path).appended == 1
    assert desk.column("line") == [1, 2, 3]


def test_csv_row_that_has_become_longer_is_refused(desk: Any) -> None:
    path = desk.write("id,type,n\na,A,1\nb,B,2", "log.csv")
    desk.load(path)
    assert desk.load(path).appended == 0
    desk.grow(path, "3\nc,C,4\n")
    with pytest.raises(SourceError, match="--replace"):
        desk.load(path)
    assert desk.column("id") == ["a", "b"]


def test_what_is_written_while_loading_arrives_next_time(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1)))
    grown = []

    def on_progress(_: object) -> None:
        if not grown:
            grown.append(True)
            desk.grow(path, desk.text(desk.event(2)))

    load_source([str(path)], desk.target, on_progress=on_progress)
    desk.load(path)
    assert desk.column("id") == ["e1", "e2"]


def test_an_overtaken_load_appends_nothing_twice(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1)))
    desk.load(path)
    desk.grow(path, desk.text(desk.event(2)))
    other = []

    def on_mapping(*_: object) -> None:
        if not other:
            other.append(desk.load(path))

    ours = load_source([str(path)], desk.target, on_mapping=on_mapping)
    assert (other[0].appended, ours.appended, ours.log.events) == (1, 0, 2)
    assert desk.column('"offset"') == [0, 1]


def test_new_file_of_a_pattern_is_appended_in_natural_order(desk: Any) -> None:
    for part in (1, 2, 10):
        desk.write(desk.text(desk.event(part)), f"part-{part}.jsonl")
    pattern = desk.folder / "part-*.jsonl"
    desk.load(pattern)
    assert desk.column("id") == ["e1", "e2", "e10"]
    desk.write(desk.text(desk.event(11)), "part-11.jsonl")
    desk.grow(desk.folder / "part-2.jsonl", desk.text(desk.event(3)))
    assert desk.load(pattern).appended == 2
    assert desk.column("id") == ["e1", "e2", "e10", "e3", "e11"]
    desk.write(desk.text(desk.event(12)), "part-12.jsonl")
    desk.load(pattern)
    sources = desk.ask("SELECT source, events FROM sources ORDER BY source")
    assert sources == [(0, 1), (1, 2), (2, 1), (3, 1), (4, 1)]


def test_files_are_read_in_the_order_given(desk: Any) -> None:
    b = desk.write(desk.text(desk.event(2)), "b.jsonl")
    a = desk.write("id,type,time\ne1,T,2026-01-01\n", "a.csv")
    loaded = desk.load(b, a)
    assert desk.column("id") == ["e2", "e1"]
    assert loaded.format == "jsonl+csv"


def test_another_source_is_refused(desk: Any) -> None:
    desk.load(desk.write(desk.text(desk.event(1))))
    other = desk.write(desk.text(desk.event(2)), "other.jsonl")
    with pytest.raises(SourceError, match="holds another log"):
        desk.load(other)
    assert desk.column("id") == ["e1"]
    desk.load(other, replace=True)
    assert desk.column("id") == ["e2"]


def test_another_source_is_refused_wherever_it_lies(desk: Any) -> None:
    """A folder of a person's own may be named as our temporary ones are."""
    folder = desk.folder / "refold-data"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.jsonl").write_text(desk.text(desk.event(1, id=name)))
    desk.load(folder / "a.jsonl")
    with pytest.raises(SourceError, match="holds another log"):
        desk.load(folder / "b.jsonl")


@pytest.mark.parametrize("change", ["shorter", "other beginning", "other end", "gone"])
def test_rewritten_source_is_refused_and_nothing_is_lost(desk: Any, change: str) -> None:
    events = [desk.event(number) for number in range(5)]
    path = desk.write(desk.text(*events))
    desk.load(path)
    if change == "gone":
        path.unlink()
    elif change == "shorter":
        path.write_text(desk.text(*events[:3]))
    else:
        events[0 if change == "other beginning" else 4]["type"] = "Other"
        path.write_text(desk.text(*events, desk.event(5), desk.event(6)))
    with pytest.raises(SourceError):
        desk.load(path)
    assert desk.column("id") == [f"e{number}" for number in range(5)]


def test_touched_source_is_unchanged(desk: Any) -> None:
    from storage.ingest.provenance import detect_source_changes

    path = desk.write(desk.text(desk.event(1)))
    desk.load(path)
    path.touch()
    assert detect_source_changes(desk.open()) == {}
    assert desk.load(path).appended == 0


def test_other_mapping_is_refused(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1, other="x")))
    desk.load(path)
    with pytest.raises(SourceError, match="another mapping"):
        desk.load(path, field_columns={"stream": "other"})
    desk.load(path, field_columns={"stream": "other"}, replace=True)
    assert desk.column("stream") == ["x"]


def test_what_is_no_workspace_is_not_replaced(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1)))
    before = path.read_bytes()
    with pytest.raises(WorkspaceError, match="not a workspace"):
        load_source([str(path)], path, LoadOptions(replace=True))
    assert path.read_bytes() == before


def test_failed_replacement_keeps_the_old_workspace(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1)))
    desk.load(path)
    path.write_text(desk.text(desk.event(2)) + "{broken\n")
    with pytest.raises(SourceError):
        desk.load(path, replace=True, is_strict=True)
    assert desk.column("id") == ["e1"]
    assert desk.leftovers() == []


def test_order_by_a_field_that_is_not_there(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1)))
    with pytest.raises(SourceError, match="can't be ordered by version"):
        desk.load(path, order_by="version")
    assert not desk.target.exists()


def test_order_by_numbers_is_by_value(desk: Any) -> None:
    events = [desk.event(n, seq=place) for n, place in enumerate([10, 9, 100, None, 9])]
    desk.load(desk.write(desk.text(*events)), order_by="offset", field_columns={"offset": "seq"})
    assert desk.column("id") == ["e1", "e4", "e0", "e2", "e3"]
    assert desk.column("source_position") == ["9", "9", "10", "100", None]


class TestStandardInput:
    """What comes through a pipe is a source like any other, known by its bytes."""

    @pytest.fixture
    def pipe(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def fill(text: str) -> None:
            fake = type("Stdin", (), {"buffer": io.BytesIO(text.encode())})()
            monkeypatch.setattr(sys, "stdin", fake)

        return fill

    def test_more_of_the_same_is_appended(self, desk: Any, pipe: Any) -> None:
        pipe(desk.text(desk.event(1)))
        assert desk.load("-").appended == 1
        pipe(desk.text(desk.event(1)))
        assert desk.load("-").appended == 0
        pipe(desk.text(desk.event(1), desk.event(2)))
        assert desk.load("-").appended == 1
        assert desk.column("id") == ["e1", "e2"]
        assert desk.column("path", "(FROM sources SELECT *, 0 AS line)") == ["-"]

    def test_something_else_is_refused(self, desk: Any, pipe: Any) -> None:
        pipe(desk.text(desk.event(1)))
        desk.load("-")
        pipe(desk.text(desk.event(2)))
        with pytest.raises(SourceError, match="--replace"):
            desk.load("-")

    def test_nothing_is_refused(self, desk: Any, pipe: Any) -> None:
        pipe("")
        with pytest.raises(SourceError, match="empty"):
            desk.load("-")
        assert not Path(desk.target).exists()
