"""An address that was copied leads to the same place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import PositionError
from tui.state.view_address import Address, parse_address

texts = st.none() | st.text(min_size=1)


@given(
    name=st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1),
    position=st.integers(0).map(str) | st.just("start"),
    projection=texts,
    key=texts,
    path=texts,
)
def test_an_address_is_read_as_it_was_written(name, position, projection, key, path):
    place = Address(Path("/work") / name, "main", position, projection, key, path)
    assert parse_address(str(place)) == place
    assert str(place).isprintable()


@pytest.mark.parametrize("text", ["", "x.refold", "refold:", "refold:/x?", "refold:/x?colour=3"])
def test_what_is_no_address_is_one_sentence(text):
    if text == "refold:/x?":
        assert parse_address(text) == Address(Path("/x"))
        return
    with pytest.raises(PositionError, match="is no address"):
        parse_address(text)
