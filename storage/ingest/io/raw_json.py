"""JSON taken apart one level at a time: what lies inside stays the text that it was, digits and all."""

import msgspec

Members = dict[str, msgspec.Raw]
"""An object's members."""

members = msgspec.json.Decoder(Members).decode
items = msgspec.json.Decoder(list[msgspec.Raw]).decode
