"""What the operating system refuses is said to be that, and not a damaged workspace."""

from pathlib import Path

import duckdb
import pytest

from storage.db.duckdb_errors import is_file_error, translate_error
from storage.errors import QueryError

WS = Path("/data/permission denied/w.refold")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('IO Error: Cannot open file "/data/w.refold": Permission denied', "no permission for"),
        ('IO Error: Could not write file "/data/w.refold": File too large', "limit on files"),
        ('IO Error: Could not write file "/d/w.refold": Disk quota exceeded', "disk quota"),
        ('IO Error: Could not write file "/d/w.refold": No space left on device', "disk is full"),
        (
            'IO Error: Cannot open file "/d/w.refold": Read-only file system',
            "is on a read-only file system",
        ),
        ('IO Error: Cannot open file "/d/w.refold": Too many open files', "too many files open"),
    ],
)
def test_a_refusal_of_the_system_is_named(said: str, expected: str) -> None:
    for kind in (duckdb.IOException, duckdb.TransactionException):
        message = translate_error(kind(said), WS).message
        assert expected in message
        assert "damaged" not in message


def test_real_damage_is_still_damage() -> None:
    error = duckdb.IOException(f'IO Error: Corrupt database file "{WS}": checksum mismatch')
    assert "is damaged" in translate_error(error, WS).message


def test_a_function_that_fails_is_not_of_the_file() -> None:
    error = duckdb.InternalException(
        "INTERNAL Error: Scalar function threw an execution error, but the function is not marked as"
        " fallible"
    )
    assert not is_file_error(error)
    assert isinstance(translate_error(error, WS), QueryError)
