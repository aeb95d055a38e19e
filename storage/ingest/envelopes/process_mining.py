"""Process mining: XES, and CSV files with the attribute names of XES. Source: IEEE 1849."""

from storage.ingest.envelopes.envelope import ORDER_BY_TIME, Envelope, first_present, path_value

XES = Envelope(
    name="xes",
    required_members=("case:concept:name", "concept:name"),
    fields={
        "time": path_value("time:timestamp"),
        "stream": path_value("case:concept:name"),
        "type": path_value("concept:name"),
        "id": first_present(path_value("identity:id"), path_value("EventID")),
    },
    order_description=ORDER_BY_TIME,
)
