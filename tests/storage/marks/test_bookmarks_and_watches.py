"""Bookmarks, watches, and trees of cause and effect."""

import pytest

from storage.log import causation
from storage.marks import bookmarks, watches
from tests.support.source_desk import Desk


def test_bookmarks_are_kept_in_the_order_of_the_log(desk: Desk):
    desk.load(desk.write(desk.text(*map(desk.event, range(5)))))
    workspace = desk.open()
    late = bookmarks.add_bookmark(
        workspace, offset=4, note="hm ✓", projection="p", key="k", path="a.b"
    )
    early = bookmarks.add_bookmark(workspace, offset=1, note="")
    assert bookmarks.list_bookmarks(workspace) == [early, late]
    assert (late.note, late.projection, late.key, late.path) == ("hm ✓", "p", "k", "a.b")
    bookmarks.remove_bookmark(workspace, early.number)
    bookmarks.remove_bookmark(workspace, early.number)
    assert bookmarks.list_bookmarks(workspace) == [late]


def test_bookmarks_and_watches_survive_an_append(desk: Desk):
    log = desk.write(desk.text(desk.event(0)))
    desk.load(log)
    workspace = desk.open()
    marked = bookmarks.add_bookmark(workspace, offset=0, note="n")
    watched = watches.add_watch(workspace, "states", "state.n < 0")
    workspace.release()
    desk.grow(log, desk.text(desk.event(1)))
    desk.load(log)
    assert bookmarks.list_bookmarks(desk.open()) == [marked]
    assert watches.list_watches(desk.open()) == [watched]


def test_same_watch_is_saved_once(desk: Desk):
    desk.load(desk.write(desk.text(desk.event(0))))
    workspace = desk.open()
    first = watches.add_watch(workspace, "states", "state.n < 0")
    assert watches.add_watch(workspace, "states", "state.n < 0") == first
    other = watches.add_watch(workspace, "events", "state.n < 0")
    assert watches.list_watches(workspace) == [first, other]
    watches.remove_watch(workspace, first.number)
    assert watches.list_watches(workspace) == [other]


def tree(desk, offset):
    found = causation.build_causal_tree(desk.open(), offset)
    return [(c.event.offset, c.depth) for c in found.events], found.is_truncated


def caused(desk, number, cause=None, correlation=None, **others):
    return desk.event(number, causation_id=cause, correlation_id=correlation, **others)


def test_causes_come_before_their_effects(desk: Desk):
    events = [
        caused(desk, 0, correlation="c"),
        caused(desk, 1, "e0", "c"),
        caused(desk, 2),
        caused(desk, 3, "e0", "c"),
        caused(desk, 4, "e1"),
        caused(desk, 5, correlation="c"),
        caused(desk, 6, "e4"),
    ]
    desk.load(desk.write(desk.text(*events)))
    whole = [(0, 0), (1, 1), (4, 2), (6, 3), (3, 1), (5, 0)]
    for offset in (0, 1, 3, 5):
        assert tree(desk, offset) == (whole, False)
    assert tree(desk, 6) == ([(0, 0), (1, 1), (4, 2), (6, 3), (3, 1)], False)
    assert tree(desk, 2) == ([(2, 0)], False)


@pytest.mark.parametrize("cause", ["e0", "e2", "nobody"])
def test_circular_and_missing_causes_end_the_search(desk: Desk, cause):
    events = [caused(desk, 0, "e1"), caused(desk, 1, "e2"), caused(desk, 2, cause)]
    desk.load(desk.write(desk.text(*events)))
    found, _ = tree(desk, 1)
    assert {offset for offset, _ in found} >= {1, 2}


def test_repeated_id_names_its_first_event(desk: Desk):
    events = [
        caused(desk, 0, id="same"),
        caused(desk, 1, id="same"),
        caused(desk, 2, "same"),
        *(
            desk.event(n) for n in range(3, 40)
        ),  # too few rows, and the column isn't recognised as the id
    ]
    desk.load(desk.write(desk.text(*events)))
    assert tree(desk, 2)[0] == [(0, 0), (2, 1)]


def test_large_tree_keeps_the_nearest_events(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(causation, "MAX_EVENTS", 5)
    desk.load(desk.write(desk.text(*(caused(desk, n, correlation="all") for n in range(20)))))
    found, more = tree(desk, 10)
    assert [offset for offset, _ in found] == [8, 9, 10, 11, 12]
    assert more
