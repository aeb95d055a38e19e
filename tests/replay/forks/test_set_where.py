"""Setting a value in many events reads them in batches, and equals setting it in each event."""

import pytest

from replay.forks.edit_builder import EditBuilder
from storage.errors import PositionError, QueryError
from storage.query import condition_parser
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.fork_bench import Bench


def test_setting_many_events_equals_setting_each_and_reads_in_batches(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    one, many = EditBuilder(bench.workspace, "f"), EditBuilder(bench.workspace, "f")
    places = many.find_matching_positions("type = 'Added'")
    for place in places:
        one.set(place, "by", "100")
    readings = []
    reading = WorkspaceFile.reading
    monkeypatch.setattr(WorkspaceFile, "reading", lambda self: readings.append(1) or reading(self))
    many.set_all(places, "by", "100")
    assert len(readings) == 1
    assert many.edits == one.edits
    assert len(many.edits) == 30


def test_a_missing_event_is_refused(bench: Bench):
    with pytest.raises(PositionError, match="There is no event to edit at 99"):
        EditBuilder(bench.workspace, "f").set_all([3, 99], "by", "1")


def test_a_literal_with_too_many_digits_is_not_reported_as_a_damaged_file(bench: Bench):
    with bench.workspace.reading() as connection:
        for condition in (f"revision > {'9' * 40}", f"revision = -{'1' * 400} OR type = 'T'"):
            with pytest.raises(QueryError, match=r"contains an integer of .* digits"):
                condition_parser.parse_condition(connection, condition, "events")
        assert condition_parser.parse_condition(connection, "revision > 1.5e40", "events")
