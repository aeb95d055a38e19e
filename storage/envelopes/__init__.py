"""Envelopes: the shapes in which systems write their events. One module tells of one system.

`ENVELOPES` has all of them, in the order in which a record is held against them.
"""

from storage.envelopes.akka import AKKA
from storage.envelopes.axon import AXON, AXON_5
from storage.envelopes.cloudevents import CLOUDEVENTS
from storage.envelopes.commanded import COMMANDED, COMMANDED_EVENTS
from storage.envelopes.debezium import DEBEZIUM, FLATTENED
from storage.envelopes.documents import (
    CLOUDTRAIL,
    DYNAMODB,
    EVENTBRIDGE,
    GITHUB_ARCHIVE,
    OCEL,
    TEMPORAL,
)
from storage.envelopes.emmett import EMMETT
from storage.envelopes.envelope import Envelope
from storage.envelopes.eventsourcing import EVENTSOURCING
from storage.envelopes.kafka import CONSOLE_CONSUMER, KAFKA, KAFKA_CONNECT, KCAT, RPK
from storage.envelopes.kurrentdb import ATOM, GAFFER, RECORDS
from storage.envelopes.marten import MARTEN
from storage.envelopes.message_db import MESSAGE_DB
from storage.envelopes.outbox import OUTBOX
from storage.envelopes.process_mining import XES
from storage.envelopes.prooph import PROOPH
from storage.envelopes.rails_event_store import RAILS_EVENT_STORE

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
    *(AXON_5, EVENTSOURCING, ATOM, RECORDS, MESSAGE_DB, EMMETT, COMMANDED, RAILS_EVENT_STORE),
    *(COMMANDED_EVENTS, AKKA, PROOPH, OUTBOX, OCEL, DYNAMODB, CLOUDTRAIL, EVENTBRIDGE),
    *(GITHUB_ARCHIVE, TEMPORAL, GAFFER, XES),
)
