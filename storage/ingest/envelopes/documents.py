"""Events that lie as a list in a JSON document: OCEL 2.0, Temporal's histories, AWS's records.

Source: the OCEL 2.0 specification, Temporal's `HistoryEvent`, the documentation of EventBridge, of DynamoDB
streams and of CloudTrail.
"""

from storage.ingest.envelopes.envelope import AS_WRITTEN, BY_TIME, REST, Envelope, Stored, at, first
from storage.ingest.mapping.expressions import Rest

OCEL = Envelope(
    name="ocel",
    requires=("id", "type", "time", "relationships"),
    optional=("relationships",),
    fields={
        "time": at("time"),
        # One event belongs to many objects; a projection's `key` may return all of them.
        "stream": at("relationships", 0, "objectId"),
        "type": at("type"),
        "id": at("id"),
        "data": Rest((), ("id", "type", "time")),
    },
    order=BY_TIME,
    stored=Stored(table="ocel_events", order=("time",)),
)
TEMPORAL = Envelope(
    name="temporal",
    requires=("eventId", "eventTime", "eventType"),
    fields={
        "offset": at("eventId"),
        "time": at("eventTime"),
        "type": at("eventType"),
        "id": at("eventId"),
        "version": at("version"),
        "data": REST,
    },
    order="total: a history numbers its events",
    looks=lambda record: not {"streamid", "eventsource"} & set(record),
)
EVENTBRIDGE = Envelope(
    name="eventbridge",
    requires=("detail-type", "source", "time", "detail"),
    fields={
        "time": at("time"),
        "stream": first(at("resources", 0), at("source")),
        "type": at("detail-type"),
        "id": at("id"),
        "data": at("detail"),
        "meta": REST,
    },
    order=AS_WRITTEN,
)
DYNAMODB = Envelope(
    name="dynamodb",
    requires=("eventID", "eventName", "dynamodb"),
    fields={
        "offset": at("dynamodb", "SequenceNumber"),
        "time": at("dynamodb", "ApproximateCreationDateTime"),
        "stream": at("dynamodb", "Keys"),
        "type": at("eventName"),
        "id": at("eventID"),
        "data": first(at("dynamodb", "NewImage"), at("dynamodb", "OldImage")),
        "meta": REST,
    },
    order="per item; between items it is that of the source",
)
CLOUDTRAIL = Envelope(
    name="cloudtrail",
    requires=("eventSource", "eventName", "eventTime", "eventID"),
    fields={
        "time": at("eventTime"),
        "stream": at("eventSource"),
        "type": at("eventName"),
        "version": at("eventVersion"),
        "id": at("eventID"),
        "data": REST,
    },
    order=BY_TIME,
)
GITHUB_ARCHIVE = Envelope(
    name="github-archive",
    requires=("id", "type", "actor", "repo", "payload", "public", "created_at"),
    fields={
        "offset": at("id"),
        "time": at("created_at"),
        "stream": at("repo", "name"),
        "type": at("type"),
        "id": at("id"),
        "data": at("payload"),
        "meta": REST,
    },
    order=BY_TIME,
)
