"""What stays of an event that was removed: its offset and its time, so that all others stay where they are.

No handler is asked about it.
"""

REMOVED = "refold.Removed"
"""The type of such an event."""
HANDLED = f"\"type\" IS DISTINCT FROM '{REMOVED}'"
"""SQL: the event is one for handlers."""
EMPTIED = (
    *("stream", "revision", "version", "id", "correlation_id", "causation_id", "data", "meta"),
    "source_position",
)
"""The fields that such an event has no longer."""
