"""Tombstones: what `refold remove` leaves of an event, its offset and its time.

The tombstone keeps the offsets of all other events unchanged. No handler receives it.
"""

REMOVED_TYPE = "refold.Removed"
"""The type of a tombstone."""
IS_HANDLED_SQL = f"\"type\" IS DISTINCT FROM '{REMOVED_TYPE}'"
"""SQL condition: the event is not a tombstone, so handlers receive it."""
EMPTIED_FIELDS = (
    *("stream", "revision", "version", "id", "correlation_id", "causation_id", "data", "meta"),
    "source_position",
)
"""The fields that are empty in a tombstone."""
