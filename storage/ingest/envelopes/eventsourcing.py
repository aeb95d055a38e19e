"""Python's eventsourcing library, version 9: rows of `stored_events`. Source: its recorders.

`state` is JSON that wraps other types, such as `{"_type_": "datetime_iso", "_data_": "…"}`.
Revisions start at 1. The time is in the state, because the table has no column for it.
"""

from storage.ingest.envelopes.envelope import (
    TOTAL_ORDER,
    Envelope,
    StoreLayout,
    first_present,
    match_group,
    path_value,
)

EVENTSOURCING = Envelope(
    name="eventsourcing",
    required_members=("originator_id", "originator_version", "topic", "state"),
    fields={
        "offset": first_present(path_value("notification_id"), path_value("rowid")),
        "time": first_present(
            path_value("state", "timestamp", "_data_"), path_value("state", "timestamp")
        ),
        "stream": path_value("originator_id"),
        "revision": path_value("originator_version"),
        "type": match_group(path_value("topic"), ":(.+)$"),
        "data": path_value("state"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout("stored_events", ("notification_id", "rowid")),
)
