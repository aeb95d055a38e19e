"""Labels of events, as people read them."""

import pytest

from storage.coordinates.event_labels import Label, format_label


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (Label(7), "7"),
        (Label(1204), "1,204"),
        (Label(1204, 2), "1,204+2"),
        (Label(-1), "start"),
        (Label(-1, 1), "start+1"),
    ],
)
def test_labels_have_thousands_separators(label: Label, shown: str):
    assert format_label(label) == shown
