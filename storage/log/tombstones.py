"""What stays of an event that was removed: its offset and its time, so that all others stay where they are.

No handler is asked about it.
"""

REMOVED_TYPE = "refold.Removed"
"""The type of such an event."""
IS_HANDLED_SQL = f"\"type\" IS DISTINCT FROM '{REMOVED_TYPE}'"
"""SQL: the event is one for handlers."""
EMPTIED_FIELDS = (
    *("stream", "revision", "version", "id", "correlation_id", "causation_id", "data", "meta"),
    "source_position",
)
"""The fields that such an event has no longer."""
