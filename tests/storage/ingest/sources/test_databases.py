"""Tables of event stores in PostgreSQL, SQLite and DuckDB: detection, joins, order, continued reading."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest

from storage.errors import SourceError
from storage.workspace.workspace_file import WorkspaceFile
from tests.support import servers

ID = "0190a000-0000-7000-8000-00000000000{}"
MARTEN = """
CREATE TABLE mt_events (seq_id bigint PRIMARY KEY, id uuid NOT NULL, stream_id uuid,
 version bigint NOT NULL, data jsonb NOT NULL, type varchar(500) NOT NULL,
 timestamp timestamptz NOT NULL DEFAULT now(), tenant_id varchar DEFAULT '*DEFAULT*',
 mt_dotnet_type varchar, is_archived bool DEFAULT FALSE, correlation_id varchar, headers jsonb);
CREATE TABLE mt_streams (id uuid PRIMARY KEY, type varchar, version bigint, timestamp timestamptz);
"""
MESSAGE_DB = """
CREATE SCHEMA message_store;
CREATE TABLE message_store.messages (global_position bigserial, position bigint NOT NULL,
 time timestamp WITHOUT TIME ZONE DEFAULT (now() AT TIME ZONE 'utc') NOT NULL,
 stream_name text NOT NULL, type text NOT NULL, data jsonb, metadata jsonb,
 id uuid NOT NULL DEFAULT gen_random_uuid());
"""
AXON = """
CREATE TABLE domain_event_entry (global_index bigint PRIMARY KEY, aggregate_identifier varchar(255),
 sequence_number bigint, type varchar(255), event_identifier varchar(255), meta_data oid,
 payload oid, payload_revision varchar(255), payload_type varchar(255), time_stamp varchar(255));
"""
COMMANDED = """
CREATE TABLE streams (stream_id bigserial PRIMARY KEY, stream_uuid text, stream_version bigint);
CREATE TABLE events (event_id uuid PRIMARY KEY, event_type text NOT NULL, causation_id uuid,
 correlation_id uuid, data bytea NOT NULL, metadata bytea, created_at timestamptz);
CREATE TABLE stream_events (event_id uuid, stream_id bigint, stream_version bigint,
 original_stream_id bigint, original_stream_version bigint);
"""
EMMETT = """
CREATE TABLE emt_messages (stream_position bigint NOT NULL, global_position bigserial,
 transaction_id xid8 NOT NULL, created timestamptz DEFAULT now(), is_archived boolean DEFAULT FALSE,
 message_kind char(1) DEFAULT 'E', stream_id text NOT NULL, partition text DEFAULT 'global',
 message_schema_version text, message_id text, message_type text, message_data jsonb,
 message_metadata jsonb);
"""
RAILS = """
CREATE TABLE event_store_events (id bigserial PRIMARY KEY, event_id uuid NOT NULL,
 event_type varchar NOT NULL, metadata bytea, data bytea NOT NULL, created_at timestamp NOT NULL,
 valid_at timestamp);
CREATE TABLE event_store_events_in_streams (id bigserial PRIMARY KEY, stream varchar NOT NULL,
 position int, event_id uuid NOT NULL, created_at timestamp NOT NULL);
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.postgres(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def fresh(server: str, request: pytest.FixtureRequest) -> Any:
    """A new database, with a function that runs SQL in it, and its link."""
    import psycopg

    name = f"d{abs(hash(request.node.name))}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = server.replace("/postgres?", f"/{name}?")

    class Fresh:
        link = url

        def run(self, statements: str, *rows: tuple[Any, ...]) -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                if rows:
                    connection.cursor().executemany(statements, rows)
                else:
                    connection.execute(statements)

        def table(self, name: str) -> str:
            return f"{url}&table={name}"

    return Fresh()


pytestmark = servers.needs_postgres


def marten(n: int, stream: int = 1, number: int | None = None) -> tuple[Any, ...]:
    seq = n if number is None else number
    data = json.dumps({"n": n}).replace(str(n), f"{n}.10")
    return (seq, ID.format(n % 10), ID.format(stream), n, data, f"2026-01-03T12:00:0{n % 10}Z")


INTO_MARTEN = (
    "INSERT INTO mt_events (seq_id, id, stream_id, version, data, type, timestamp, mt_dotnet_type)"
    " VALUES (%s, %s, %s, %s, %s, 'order_placed', %s, 'Orders.OrderPlaced, Orders')"
)


def test_marten(desk: Any, fresh: Any) -> None:
    fresh.run(MARTEN)
    fresh.run(INTO_MARTEN, *(marten(n) for n in (3, 1, 2)))
    loaded = desk.load(fresh.link)
    assert loaded.format == "postgresql+marten"
    assert loaded.mapping.order_description.startswith("total")
    assert desk.column("source_position") == ["1", "2", "3"]
    assert desk.column("data") == ['{"n": 1.10}', '{"n": 2.10}', '{"n": 3.10}']
    assert desk.column("stream") == [ID.format(1)] * 3
    assert desk.column("epoch(time)::BIGINT - 1767441600") == [1, 2, 3]
    assert desk.load(fresh.link).appended == 0
    fresh.run(INTO_MARTEN, marten(4))
    assert desk.load(fresh.link).appended == 1
    assert desk.column("revision") == [1, 2, 3, 4]


def test_rows_committed_late_are_read_by_the_next_load(desk: Any, fresh: Any) -> None:
    fresh.run(MARTEN)
    fresh.run(INTO_MARTEN, *(marten(n, number=n) for n in (1, 2, 5)))
    desk.load(fresh.link)
    fresh.run(INTO_MARTEN, *(marten(n, number=n) for n in (3, 6)))
    assert desk.load(fresh.link).appended == 2
    assert desk.column("source_position") == ["1", "2", "5", "3", "6"]
    fresh.run(INTO_MARTEN, marten(4, number=4))
    assert desk.load(fresh.link).appended == 1
    assert desk.load(fresh.link).appended == 0


def test_workspace_contains_no_secret_of_the_link(desk: Any, fresh: Any) -> None:
    fresh.run(MARTEN)
    fresh.run(INTO_MARTEN, marten(1))
    link = fresh.link.replace("refold@", "refold:s3cretword@") + "&sslpassword=s3cretword"
    desk.load(link)
    assert "s3cretword" not in str(desk.ask("SELECT * FROM sources")) + desk.target.name
    assert desk.load(link).appended == 0


def test_message_db(desk: Any, fresh: Any) -> None:
    fresh.run(MESSAGE_DB)
    fresh.run(
        "INSERT INTO message_store.messages (position, time, stream_name, type, data, metadata)"
        " VALUES (%s, %s, 'order-1', 'Placed', %s, '{}')",
        *((n, f"2026-01-03 12:00:0{n}", json.dumps({"n": n})) for n in range(3)),
    )
    assert desk.load(fresh.link).format == "postgresql+message-db"
    assert desk.column("revision") == [0, 1, 2]
    assert desk.column("epoch(time)::BIGINT - 1767441600") == [0, 1, 2]


def test_axon_with_large_objects(desk: Any, fresh: Any) -> None:
    fresh.run(AXON)
    fresh.run(
        "INSERT INTO domain_event_entry VALUES (%s, 'a-1', %s, 'Order', %s,"
        " lo_from_bytea(0, '{\"correlationId\":\"c\"}'), lo_from_bytea(0, convert_to(%s, 'UTF8')),"
        " '1', 'shop.OrderPlaced', %s)",
        *((n, n, f"e{n}", json.dumps({"n": n}), f"2026-01-03T12:00:0{n}Z") for n in range(3)),
    )
    assert desk.load(fresh.link).format == "postgresql+axon"
    assert [json.loads(t) for t in desk.column("data")] == [{"n": n} for n in range(3)]
    assert desk.column("type") == ["shop.OrderPlaced"] * 3
    assert desk.column("correlation_id") == ["c"] * 3


def test_commanded(desk: Any, fresh: Any) -> None:
    fresh.run(COMMANDED)
    fresh.run("INSERT INTO streams VALUES (0, '$all', 3), (1, 'order-1', 3)")
    events = [(ID.format(n), json.dumps({"n": n}).encode()) for n in range(3)]
    fresh.run(
        "INSERT INTO events VALUES (%s, 'Elixir.Placed', NULL, NULL, %s, NULL, now())", *events
    )
    for stream in (0, 1):
        places = [(ID.format(n), stream, 3 - n, 3 - n) for n in range(3)]
        fresh.run("INSERT INTO stream_events VALUES (%s, %s, %s, 1, %s)", *places)
    assert desk.load(fresh.link).format == "postgresql+commanded"
    assert [json.loads(t)["n"] for t in desk.column("data")] == [2, 1, 0]
    assert desk.column("stream") == ["order-1"] * 3
    assert desk.column("revision") == [1, 2, 3]


def test_emmett(desk: Any, fresh: Any) -> None:
    fresh.run(EMMETT)
    fresh.run(
        "INSERT INTO emt_messages (stream_position, global_position, transaction_id, stream_id,"
        " message_id, message_type, message_data, message_metadata)"
        " VALUES (%s, %s, %s, 'order-1', %s, 'Placed', %s, '{}')",
        *((n, 10 - n, str(700 + n), f"e{n}", json.dumps({"n": n})) for n in range(3)),
    )
    assert desk.load(fresh.link).format == "postgresql+emmett"
    # Transactions order the rows first, then the numbers.
    assert desk.column("revision") == [0, 1, 2]
    assert desk.load(fresh.link).appended == 0


def test_rails_event_store(desk: Any, fresh: Any) -> None:
    fresh.run(RAILS)
    fresh.run(
        "INSERT INTO event_store_events VALUES (%s, %s, 'Placed', %s, %s, now(), NULL)",
        *((n, ID.format(n), b'{"correlation_id":"c"}', b'{"n":1}') for n in (1, 2)),
    )
    fresh.run(
        "INSERT INTO event_store_events_in_streams (stream, position, event_id, created_at)"
        " VALUES (%s, %s, %s, now())",
        *(("order-1", 0, ID.format(1)), ("order-1", 1, ID.format(2)), ("all", 0, ID.format(1))),
    )
    assert desk.load(fresh.link).format == "postgresql+rails-event-store"
    assert desk.column("stream") == ["order-1"] * 2
    assert desk.column("revision") == [0, 1]
    assert desk.column("correlation_id") == ["c"] * 2


@cache
def order() -> Any:
    """An aggregate of the eventsourcing library."""
    from eventsourcing.domain import Aggregate, event

    class Order(Aggregate):
        def __init__(self, name: str) -> None:
            self.name = name
            self.total = 0

        @event("Paid")
        def pay(self, amount: int) -> None:
            self.total += amount

    return Order


def written_by_the_library(module: str, settings: dict[str, str]) -> None:
    """Three events of an aggregate, written by the eventsourcing library itself."""
    from eventsourcing.application import Application

    application: Any = Application(env={"PERSISTENCE_MODULE": module, **settings})
    first = order()("first")
    first.pay(amount=5)
    first.pay(amount=7)
    application.save(first)
    application.close()


def check_the_librarys(desk: Any, loaded: Any) -> None:
    assert loaded.format.endswith("+eventsourcing")
    assert [kind.rpartition("Order.")[2] for kind in desk.column("type")] == [
        "Created",
        "Paid",
        "Paid",
    ]
    assert desk.column("revision") == [1, 2, 3]
    assert len({str(UUID(stream)) for stream in desk.column("stream")}) == 1
    assert None not in desk.column("time::VARCHAR")
    assert [json.loads(t).get("amount") for t in desk.column("data")] == [None, 5, 7]


def test_eventsourcing_in_sqlite(desk: Any) -> None:
    path = desk.folder / "orders.sqlite"
    written_by_the_library("eventsourcing.sqlite", {"SQLITE_DBNAME": str(path)})
    check_the_librarys(desk, desk.load(path))
    assert desk.load(path).appended == 0


def test_eventsourcing_in_postgresql(desk: Any, fresh: Any) -> None:
    host = fresh.link.partition("host=")[2]
    database = fresh.link.partition("@/")[2].partition("?")[0]
    settings = {
        "POSTGRES_DBNAME": database,
        "POSTGRES_HOST": host,
        "POSTGRES_PORT": "5432",
        "POSTGRES_USER": "refold",
        "POSTGRES_PASSWORD": "x",
    }
    written_by_the_library("eventsourcing.postgres", settings)
    check_the_librarys(desk, desk.load(fresh.link))


def test_table_of_unknown_format_is_mapped_by_column_names(desk: Any, fresh: Any) -> None:
    fresh.run(
        "CREATE TABLE audit (counter int, what text, at timestamptz, who uuid, amount numeric, tags text[])"
    )
    fresh.run(
        "INSERT INTO audit VALUES (%s, 'Paid', %s, %s, 0.10, '{a,b}')",
        *((n, f"2026-01-03T12:00:0{9 - n}Z", ID.format(n)) for n in range(3)),
    )
    fields = {"type": "what", "stream": "who"}
    with pytest.raises(SourceError, match=r"as a field of an event: counter, what, at, who.*--map"):
        desk.load(fresh.table("audit"), field_columns={})
    desk.load(fresh.table("audit"), field_columns=fields)
    # The table has no number for each row, so the time orders it.
    assert desk.column("data") == [
        f'{{"counter":{n},"amount":0.10,"tags":["a","b"]}}' for n in (2, 1, 0)
    ]


def test_infinite_time_is_read_as_no_time(desk: Any, fresh: Any) -> None:
    fresh.run("CREATE TABLE till (id int, stream text, type text, at timestamptz, data jsonb)")
    times = ("2026-01-03 12:00:00.123456+02", "infinity", "-infinity", None)
    fresh.run(
        """INSERT INTO till VALUES (%s, 't', 'Paid', %s, '{"a": "\\u00e9", "c": [1.50]}')""",
        *enumerate(times),
    )
    desk.load(fresh.table("till"), field_columns={"time": "at"})
    # The events are in the order of their times in the table.
    assert desk.column("source_position") == [None] * 4
    assert desk.column("epoch_us(time)") == [None, 1767434400123456, None, None]
    assert desk.column("data") == ['{"a": "é", "c": [1.50]}'] * 4


def test_values_that_arrow_cannot_represent_become_no_other_value(desk: Any, fresh: Any) -> None:
    fresh.run(
        "CREATE TABLE odd (id int PRIMARY KEY, stream text, type text, d date, t timestamptz,"
        " ts timestamp, f real, o oid)"
    )
    fresh.run(
        """INSERT INTO odd VALUES (1, 's', 'T', 'infinity', 'infinity', '-infinity', 0.1, 1234),
        (2, 's', 'T', '0001-01-01 BC', '294276-12-31', '2026-01-03 12:00', 1e20, lo_from_bytea(0, 'packed'))"""
    )
    desk.load(fresh.table("odd"))
    assert [json.loads(data) for data in desk.column("data")] == [
        {"d": "infinity", "t": "infinity", "f": 0.1, "o": "1234"},
        {"d": "0001-01-01 BC", "t": None, "f": 1e20, "o": "packed"},
    ]


def test_errors_name_the_problem_and_the_tables(desk: Any, fresh: Any, tmp_path: Path) -> None:
    fresh.run("CREATE TABLE users (id int, name text, stream_id uuid, type text)")
    with pytest.raises(SourceError, match=r"users\. Nearest: users as .* lacks .*table=NAME"):
        desk.load(fresh.link)
    with pytest.raises(SourceError, match="no table orders; its tables: users"):
        desk.load(fresh.table("orders"))
    fresh.run(MARTEN)
    with pytest.raises(SourceError, match=r"The table mt_events of .* is empty"):
        desk.load(fresh.link)
    with pytest.raises(SourceError, match="can't be read"):
        desk.load(f"postgresql://refold:pw@/nowhere?host={tmp_path}")
    with pytest.raises(SourceError, match=r"There is no file /.*none\.db"):
        desk.load("sqlite:none.db")
    fresh.run(MESSAGE_DB)
    fresh.run(
        "INSERT INTO message_store.messages (position, stream_name, type) VALUES (0, 's', 'T')"
    )
    fresh.run(INTO_MARTEN, marten(1))
    with pytest.raises(
        SourceError, match=r"several logs: message_store\.messages, mt_events; choose one"
    ):
        desk.load(fresh.link)
    assert desk.load(fresh.table("messages")).format == "postgresql+message-db"
    assert not [n for n in desk.leftovers() if "loading" in n]


def test_load_writes_nothing_into_the_database(desk: Any, fresh: Any) -> None:
    import psycopg

    fresh.run(MARTEN)
    fresh.run(INTO_MARTEN, marten(1))
    fresh.run(
        'ALTER DATABASE "{}" SET default_transaction_read_only = on'.format(
            fresh.link.partition("@/")[2].partition("?")[0]
        )
    )
    desk.load(fresh.link)
    with psycopg.connect(fresh.link) as connection:
        assert connection.execute("SELECT count(*) FROM mt_events").fetchall() == [(1,)]


def own(connection: Any) -> None:
    connection.execute(
        "CREATE TABLE messages (global_position INTEGER, position INTEGER, time TEXT,"
        " stream_name TEXT, type TEXT, data TEXT, metadata TEXT, id TEXT)"
    )
    for n in range(3):
        more(connection, n)


def more(connection: Any, n: int) -> None:
    row = (n, n, f"2026-01-03 12:00:0{n}", "s-1", "T", f'{{"n":{n}.10}}', None, f"e{n}")
    connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
@pytest.mark.parametrize("named", ["file", "link"])
def test_databases_in_a_file(desk: Any, kind: str, named: str) -> None:
    path = desk.folder / "store.db"
    connect: Any = sqlite3.connect if kind == "sqlite" else duckdb.connect
    connection = connect(str(path))
    own(connection)
    connection.commit()
    connection.close()
    name = str(path) if named == "file" else f"{kind}:{path}?table=messages"
    assert desk.load(name).format == f"{kind}+message-db"
    assert desk.column("data") == ['{"n":0.10}', '{"n":1.10}', '{"n":2.10}']
    connection = connect(str(path))
    more(connection, 3)
    connection.commit()
    connection.close()
    assert desk.load(name).appended == 1
    assert desk.column("revision") == [0, 1, 2, 3]
    assert WorkspaceFile(desk.target)


def test_lists_and_floats_of_a_duckdb_file_are_unchanged(desk: Any) -> None:
    path = desk.folder / "lists.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE log AS SELECT 1 AS id, 's' AS stream, 'T' AS type, [1.50, NULL] AS d,"
            " [170141183460469231731687303715884105727::HUGEINT] AS h, [TIME '12:00:01'] AS t,"
            " ['a'::ENUM ('a', 'b')] AS e, [[1], []] AS n, 1.1::FLOAT AS f, 'inf'::FLOAT AS i"
        )
    desk.load(f"duckdb:{path}?table=log")
    numbers = '"d":[1.5,null],"h":[170141183460469231731687303715884105727]'
    others = '"t":["12:00:01"],"e":["a"],"n":[[1],[]],"f":1.1,"i":"Infinity"'
    assert desk.column("data") == [f"{{{numbers},{others}}}"]


def test_workspace_as_a_source_is_refused(desk: Any) -> None:
    desk.load(desk.write(desk.text(desk.event(1))))
    kept = desk.target.rename(desk.folder / "other.duckdb")
    with pytest.raises(SourceError, match="is a workspace"):
        desk.load(kept)


def test_odd_values_in_sqlite(desk: Any) -> None:
    path = desk.folder / "odd.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE e (type TEXT, stream TEXT, data BLOB, n INTEGER, t TEXT)")
    rows = [
        ("T", "s", b'{"a":1}', 1, "x"),
        ("T", "s", b"\xff\xfe", "text", b"\xff"),
        (None, None, None, None, None),
        ("T", 7, '{"b":2}', 2.5, 9**30),
    ]
    rows = [tuple(str(v) if isinstance(v, int) and v > 2**60 else v for v in row) for row in rows]
    connection.executemany("INSERT INTO e VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    desk.load(f"sqlite:{path}?table=e", field_columns={"data": "data"})
    assert desk.column("data") == ['{"a":1}', '"//4="', None, '{"b":2}']


def test_ocel_in_sqlite(desk: Any) -> None:
    path = desk.folder / "log.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE event (ocel_id TEXT PRIMARY KEY, ocel_type TEXT);
            CREATE TABLE event_map_type (ocel_type TEXT, ocel_type_map TEXT);
            CREATE TABLE event_Pack (ocel_id TEXT, ocel_time TIMESTAMP, weight REAL);
            CREATE TABLE "event_Send'It" (ocel_id TEXT, ocel_time TIMESTAMP);
            CREATE TABLE event_object (ocel_event_id TEXT, ocel_object_id TEXT, ocel_qualifier TEXT);
            CREATE TABLE object (ocel_id TEXT, ocel_type TEXT);
            CREATE TABLE object_map_type (ocel_type TEXT, ocel_type_map TEXT);
            INSERT INTO event_map_type VALUES ('pack goods', 'Pack'), ('send', 'Send''It'), ('x', 'Gone');
            INSERT INTO event VALUES ('e2', 'send'), ('e1', 'pack goods');
            INSERT INTO event_Pack VALUES ('e1', '2026-01-01T10:00:00Z', 1.5);
            INSERT INTO "event_Send'It" VALUES ('e2', '2026-01-01T11:00:00Z');
            INSERT INTO event_object VALUES ('e1', 'o-1', 'order'), ('e1', 'i-2', 'item');
            """
        )
        before = path.read_bytes()
    loaded = desk.load(f"sqlite:{path}")
    assert loaded.format == "sqlite+ocel"
    assert path.read_bytes() == before
    assert desk.column("id") == ["e1", "e2"]
    assert desk.column("type") == ["pack goods", "send"]
    assert desk.column("stream") == ["o-1", None]
    data = json.loads(desk.column("data")[0])
    assert data["attributes"] == [{"name": "weight", "value": 1.5}]
    assert [one["objectId"] for one in data["relationships"]] == ["o-1", "i-2"]


def test_names_that_differ_in_case_only_are_two_columns(desk: Any, fresh: Any) -> None:
    fresh.run('CREATE TABLE log (n bigint, "Type" text, type text, "TYPE" text, stream text)')
    fresh.run("""INSERT INTO log VALUES (1, 'First', 'second', 'THIRD', 's')""")
    desk.load(fresh.table("log"), field_columns={"type": "type_1", "offset": "n"})
    assert desk.column("type") == ["second"]
    [data] = desk.column("data")
    assert json.loads(data)["Type"] == "First"
    assert json.loads(data)["TYPE_2"] == "THIRD"


@pytest.mark.parametrize("named", ["shop.events", '"shop.events"'])
def test_a_table_may_have_a_dot_in_its_name(desk: Any, fresh: Any, named: str) -> None:
    fresh.run('CREATE TABLE "shop.events" (n bigint, type text, stream text)')
    fresh.run("""INSERT INTO "shop.events" VALUES (1, 'Opened', 's')""")
    desk.load(fresh.table(named), field_columns={"offset": "n"})
    assert desk.column("type") == ["Opened"]
    fresh.run("CREATE SCHEMA shop; CREATE TABLE shop.events (n bigint, type text, stream text)")
    fresh.run("INSERT INTO shop.events VALUES (1, 'Closed', 's')")
    desk.target.unlink()
    desk.load(fresh.table(named), field_columns={"offset": "n"})
    assert desk.column("type") == ["Opened" if '"' in named else "Closed"]


def test_times_before_year_1_still_order_the_log(desk: Any, fresh: Any) -> None:
    fresh.run("CREATE TABLE log (at timestamptz, type text, stream text)")
    fresh.run("""INSERT INTO log VALUES ('0044-03-15 12:00:00+00 BC', 'Stabbed', 'caesar')""")
    desk.load(fresh.table("log"), field_columns={"time": "at"})
    assert desk.column("type") == ["Stabbed"]
    assert desk.column("time") == [None]
    assert "0044" in desk.column("meta")[0]
