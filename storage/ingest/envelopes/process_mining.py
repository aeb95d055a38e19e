"""Process mining: XES and the CSV that goes by its names. Source: IEEE 1849."""

from storage.ingest.envelopes.envelope import BY_TIME, Envelope, at, first

XES = Envelope(
    name="xes",
    requires=("case:concept:name", "concept:name"),
    fields={
        "time": at("time:timestamp"),
        "stream": at("case:concept:name"),
        "type": at("concept:name"),
        "id": first(at("identity:id"), at("EventID")),
    },
    order=BY_TIME,
)
