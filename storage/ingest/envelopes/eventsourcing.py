"""Python's eventsourcing library, version 9: rows of `stored_events`. Source: its recorders.

`state` is JSON in which other types are wrapped, as `{"_type_": "datetime_iso", "_data_": "…"}`.
Revisions start at 1. There is no column of time; the state has one.
"""

from storage.ingest.envelopes.envelope import TOTAL, Envelope, Stored, at, first, matched

EVENTSOURCING = Envelope(
    name="eventsourcing",
    requires=("originator_id", "originator_version", "topic", "state"),
    fields={
        "offset": first(at("notification_id"), at("rowid")),
        "time": first(at("state", "timestamp", "_data_"), at("state", "timestamp")),
        "stream": at("originator_id"),
        "revision": at("originator_version"),
        "type": matched(at("topic"), ":(.+)$"),
        "data": at("state"),
    },
    order=TOTAL,
    stored=Stored("stored_events", ("notification_id", "rowid")),
)
