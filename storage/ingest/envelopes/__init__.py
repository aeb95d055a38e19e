"""Envelopes: the record shapes in which known systems write their events, one module per system.

`ENVELOPES` lists all of them in the order in which records are matched; at a tie the first wins.
"""

from storage.ingest.envelopes.akka import AKKA
from storage.ingest.envelopes.axon import AXON, AXON_5
from storage.ingest.envelopes.cloudevents import CLOUDEVENTS
from storage.ingest.envelopes.commanded import COMMANDED, COMMANDED_EVENTS
from storage.ingest.envelopes.debezium import DEBEZIUM, FLATTENED
from storage.ingest.envelopes.documents import (
    CLOUDTRAIL,
    DYNAMODB,
    EVENTBRIDGE,
    GITHUB_ARCHIVE,
    OCEL,
    TEMPORAL,
)
from storage.ingest.envelopes.emmett import EMMETT
from storage.ingest.envelopes.envelope import Envelope
from storage.ingest.envelopes.eventsourcing import EVENTSOURCING
from storage.ingest.envelopes.kafka import CONSOLE_CONSUMER, KAFKA, KAFKA_CONNECT, KCAT, RPK
from storage.ingest.envelopes.kurrentdb import ATOM, GAFFER, KURRENTDB
from storage.ingest.envelopes.marten import MARTEN
from storage.ingest.envelopes.message_db import MESSAGE_DB
from storage.ingest.envelopes.outbox import OUTBOX
from storage.ingest.envelopes.process_mining import XES
from storage.ingest.envelopes.prooph import PROOPH
from storage.ingest.envelopes.rails_event_store import RAILS_EVENT_STORE

__all__ = ["ENVELOPES"]

ENVELOPES: tuple[Envelope, ...] = (
    *(
        KAFKA,
        KCAT,
        RPK,
        CONSOLE_CONSUMER,
        KAFKA_CONNECT,
        DEBEZIUM,
        FLATTENED,
        CLOUDEVENTS,
        MARTEN,
        AXON,
    ),
    *(AXON_5, EVENTSOURCING, ATOM, KURRENTDB, MESSAGE_DB, EMMETT, COMMANDED, RAILS_EVENT_STORE),
    *(COMMANDED_EVENTS, AKKA, PROOPH, OUTBOX, OCEL, DYNAMODB, CLOUDTRAIL, EVENTBRIDGE),
    *(GITHUB_ARCHIVE, TEMPORAL, GAFFER, XES),
)
