"""Events in lists of JSON documents: OCEL 2.0, Temporal's histories, AWS's records, GitHub's archive.

Source: the OCEL 2.0 specification, Temporal's `HistoryEvent`, the documentation of EventBridge, of DynamoDB
streams and of CloudTrail.
"""

from storage.ingest.envelopes.envelope import (
    ORDER_BY_TIME,
    RECORD_ORDER,
    REMAINING,
    Envelope,
    StoreLayout,
    first_present,
    path_value,
)
from storage.ingest.mapping.expressions import RemainingMembers

OCEL = Envelope(
    name="ocel",
    required_members=("id", "type", "time", "relationships"),
    optional_members=("relationships",),
    fields={
        "time": path_value("time"),
        # One event belongs to many objects; a projection's `key` may return all of them.
        "stream": path_value("relationships", 0, "objectId"),
        "type": path_value("type"),
        "id": path_value("id"),
        "data": RemainingMembers((), ("id", "type", "time")),
    },
    order_description=ORDER_BY_TIME,
    store_layout=StoreLayout(table="ocel_events", order_columns=("time",)),
)
TEMPORAL = Envelope(
    name="temporal",
    required_members=("eventId", "eventTime", "eventType"),
    fields={
        "offset": path_value("eventId"),
        "time": path_value("eventTime"),
        "type": path_value("eventType"),
        "id": path_value("eventId"),
        "version": path_value("version"),
        "data": REMAINING,
    },
    order_description="total: a history numbers its events",
    matches_values=lambda record: not {"streamid", "eventsource"} & set(record),
)
EVENTBRIDGE = Envelope(
    name="eventbridge",
    required_members=("detail-type", "source", "time", "detail"),
    fields={
        "time": path_value("time"),
        "stream": first_present(path_value("resources", 0), path_value("source")),
        "type": path_value("detail-type"),
        "id": path_value("id"),
        "data": path_value("detail"),
        "meta": REMAINING,
    },
    order_description=RECORD_ORDER,
)
DYNAMODB = Envelope(
    name="dynamodb",
    required_members=("eventID", "eventName", "dynamodb"),
    fields={
        "offset": path_value("dynamodb", "SequenceNumber"),
        "time": path_value("dynamodb", "ApproximateCreationDateTime"),
        "stream": path_value("dynamodb", "Keys"),
        "type": path_value("eventName"),
        "id": path_value("eventID"),
        "data": first_present(
            path_value("dynamodb", "NewImage"), path_value("dynamodb", "OldImage")
        ),
        "meta": REMAINING,
    },
    order_description="per item; between items it is that of the source",
)
CLOUDTRAIL = Envelope(
    name="cloudtrail",
    required_members=("eventSource", "eventName", "eventTime", "eventID"),
    fields={
        "time": path_value("eventTime"),
        "stream": path_value("eventSource"),
        "type": path_value("eventName"),
        "version": path_value("eventVersion"),
        "id": path_value("eventID"),
        "data": REMAINING,
    },
    order_description=ORDER_BY_TIME,
)
GITHUB_ARCHIVE = Envelope(
    name="github-archive",
    required_members=("id", "type", "actor", "repo", "payload", "public", "created_at"),
    fields={
        "offset": path_value("id"),
        "time": path_value("created_at"),
        "stream": path_value("repo", "name"),
        "type": path_value("type"),
        "id": path_value("id"),
        "data": path_value("payload"),
        "meta": REMAINING,
    },
    order_description=ORDER_BY_TIME,
)
