"""Every notation of a position, and the errors for texts that aren't one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import PositionError
from storage.log import positions
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.support.properties import examples


@pytest.fixture(scope="module")
def log(shared_desk: Any) -> Workspace:
    """Offsets 0 to 4; 3 has no readable time, and 2 is later than 4."""
    times = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T12:00:00.123457Z", "?"]
    events = [
        shared_desk.event(n, time=time, stream="or@der" if n == 1 else "s")
        for n, time in enumerate([*times, "2026-01-03T00:00:00Z"])
    ]
    more = [shared_desk.event(n, id=f"x{n}", stream="t") for n in range(10)]
    shared_desk.load(shared_desk.write(shared_desk.text(*events, *more)))
    workspace: Workspace = shared_desk.open()
    return workspace


GOOD = {
    "0": 0,
    "14": 14,
    " 7 ": 7,
    "1_0": 10,
    "1,0": 10,
    "-1": 14,
    "-15": 0,
    "start": positions.START,
    "end": 14,
    "0%": positions.START,
    "100%": 14,
    "40%": 5,
    "33.3 %": 4,
    "id:e3": 3,
    "s@0": 0,
    "s@2": 3,
    "or@der@0": 1,
    "2025-12-31T23:59:59Z": positions.START,
    "2026-01-01T00:00:00Z": 0,
    "2026-01-01T23:59Z": 0,
    "2026-01-02T01:00:00+01:00": 1,
    "2026-01-02T00:00:00+01:00": 0,
    "2026-01-03T00:00:00Z": 1,  # 2 is later, so 4 isn't reached though it is that old
    "2026-01-03T12:00:00.123456Z": 3 - 2,
    "2026-01-03T12:00:00.123457Z": 5,
    "2027-01-01": 14,
}


@pytest.mark.parametrize("text", GOOD)
def test_every_form(log: Workspace, text: str) -> None:
    assert positions.resolve_position(log, text) == GOOD[text]


@pytest.mark.parametrize(
    "text",
    [
        *("", "15", "-16", "-0", "1.5", "1e3", "START", "100.1%", "-5%", "id:", "id:nobody", "²"),
        *(
            "s@99",
            "nobody@0",
            "@1",
            "2026-01",
            "2026-13-01",
            "2026-01-01T25:00",
            "1+1",
            "yesterday",
        ),
        *(
            "s@" + "9" * 19,
            "s@" + "9" * 60,
            "9" * 60,
            "9" * 5000,
            "-" + "9" * 5000,
            "9" * 400 + "%",
        ),
        *(
            "0001-01-01",
            "9999-12-31T23:59:59-23:59",
            "0001-01-01T00:00+23:59",
        ),
    ],
)
def test_invalid_position_is_refused(log: Workspace, new_york: None, text: str) -> None:
    try:
        found = positions.resolve_position(log, text)
    except PositionError as error:
        assert error.message.endswith((".", ";"))  # noqa: PT017 - far times may be positions
    else:
        assert text.startswith(("0001", "9999"))
        assert found in (positions.START, 14)


def test_time_without_a_zone_is_local(log: Workspace, new_york: None) -> None:
    assert positions.resolve_position(log, "2026-01-01T18:59:59") == 0
    assert positions.resolve_position(log, "2026-01-01T19:00:00") == 1
    assert positions.resolve_position(log, "2026-01-02") == 1
    assert positions.resolve_position(log, "2026-01-01") == 0
    assert positions.resolve_position(log, "2026-01-01T00:00Z") == 0


def test_log_without_times(desk: Any) -> None:
    desk.load(desk.write('{"type":"T","data":{}}\n'))
    with pytest.raises(PositionError, match="has no times"):
        positions.resolve_position(desk.open(), "2026-01-01")


def test_log_of_rejects_only_has_one_position(desk: Any) -> None:
    path = desk.write(desk.text(desk.event(1))[:-1] + "x\n" + desk.text(desk.event(2)))
    desk.load(path)
    assert positions.resolve_position(desk.open(), "100%") == 0


@settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 4_000_000_000_000_000), min_size=1, max_size=8, unique=True))
def test_an_event_is_reached_at_its_own_microsecond(
    tmp_path_factory: pytest.TempPathFactory, micros: list[int]
) -> None:
    from storage.ingest.loader import LoadOptions, load_source

    folder = tmp_path_factory.mktemp("micros")
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=m) for m in sorted(micros)]
    lines = [f'{{"time":"{moment.isoformat()}","type":"T"}}\n' for moment in moments]
    (folder / "log.jsonl").write_text("".join(lines))
    load_source(
        [str(folder / "log.jsonl")],
        folder / "w.refold",
        LoadOptions(field_columns={"time": "time"}),
    )
    workspace = WorkspaceFile(folder / "w.refold")
    for offset, moment in enumerate(moments):
        assert positions.resolve_position(workspace, moment.isoformat()) == offset
        before = moment - timedelta(microseconds=1)
        assert positions.resolve_position(workspace, before.isoformat()) == offset - 1
