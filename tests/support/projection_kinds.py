"""The same projection of counters, written in every kind of projection.

`Added` adds `by` to a counter and remembers the last event; `Dropped` deletes the counter; `Failed`
changes the state and then fails. Every kind must give the same history.
"""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

_MODULE = """
def initial(key): return {"name": key, "total": 0, "seen": []}
def on_Added(state, event):
    state["total"] += event.data["by"]
    state["seen"] = (state["seen"] + [event.data["by"]])[-3:]
def on_Dropped(state, event): return event.DELETED
def on_Failed(state, event):
    state["total"] = -1
    raise ValueError("no such thing")
"""

_CLASS = """
class Counter:
    def initial(self, key): return {"name": key, "total": 0, "seen": []}
    def on_Added(self, state, event):
        by = event.data["by"]
        return {**state, "total": state["total"] + by, "seen": [*state["seen"], by][-3:]}
    def on_Dropped(self, state, event): return event.DELETED
    def on_Failed(self, state, event):
        state["total"] = -1
        raise ValueError("no such thing")
"""

_INSTANCES = """
from dataclasses import dataclass

@dataclass
class Added:
    by: int

class Counter:
    def __init__(self, name):
        self.name = name
        self.total = 0
        self.seen = []
    def when(self, event):
        kind = getattr(event, "type", "Added")
        if kind == "Added":
            self.total += event.by
            self.seen = (self.seen + [event.by])[-3:]
        elif kind == "Dropped":
            return event.DELETED
        elif kind == "Failed":
            self.total = -1
            raise ValueError("no such thing")
"""

_EVOLVE = """
def initial(key): return {"name": key, "total": 0, "seen": []}
def evolve(state, event):
    if event.type == "Added":
        by = event.data["by"]
        return {**state, "total": state["total"] + by, "seen": [*state["seen"], by][-3:]}
    if event.type == "Dropped": return event.DELETED
    if event.type == "Failed":
        state["total"] = -1
        raise ValueError("no such thing")
"""

_ROUTED = "def key(event): return event.stream\n" + _MODULE

PROGRAM = """
import json, sys
documents = {}

def handled(event):
    at = {"offset": event["offset"]}
    key, kind = event["stream"], event["type"]
    state = dict(documents.get(key) or {"name": key, "total": 0, "seen": []})
    if kind == "Added":
        by = event["data"]["by"]
        state.update(total=state["total"] + by, seen=[*state["seen"], by][-3:])
    elif kind == "Dropped":
        state = None
    elif kind == "Failed":
        return {**at, "error": "ValueError: no such thing", "key": key}
    else:
        return {**at, "skipped": True}
    documents[key] = state
    return {**at, "changes": {key: state}}

for line in sys.stdin:
    message = json.loads(line)
    if "refold" in message:
        answer = {"ready": 1, "routes": ROUTES}
    elif "route" in message:
        answer = {"offset": message["route"]["offset"], "keys": [message["route"]["stream"]]}
    elif "document" in message:
        documents[message["document"]] = message["state"]
        continue
    else:
        answer = handled(message["event"])
    print(json.dumps(answer), flush=True)
"""

_NODE = """
const documents = new Map();
const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\\n");
function handled({ offset, stream: key, type, data }) {
  let state = documents.get(key) ?? { name: key, total: 0, seen: [] };
  if (type === "Added")
    state = { ...state, total: state.total + data.by, seen: [...state.seen, data.by].slice(-3) };
  else if (type === "Dropped") state = null;
  else if (type === "Failed") return { offset, key, error: "ValueError: no such thing" };
  else return { offset, skipped: true };
  documents.set(key, state);
  return { offset, changes: { [key]: state } };
}
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.refold) say({ ready: 1 });
  else if (message.document !== undefined) documents.set(message.document, message.state);
  else say(handled(message.event));
});
"""


SQL = """
-- refold: own events of stream
WITH numbered AS (
    SELECT *, coalesce(max(CASE WHEN type = 'Dropped' THEN "offset" END)
        OVER (PARTITION BY stream), -1) AS dropped
    FROM events
)
SELECT stream AS key, stream AS name, CAST(sum(CAST(data->>'by' AS INTEGER)) AS BIGINT) AS total,
    list(CAST(data->>'by' AS INTEGER) ORDER BY "offset")[-3:] AS seen
FROM numbered WHERE type = 'Added' AND "offset" > dropped GROUP BY stream;
-- That was all.
"""

POLARS = """
import polars as pl

OWN_EVENTS_OF = "stream"

def project(events):
    dropped = events.filter(pl.col("type") == "Dropped").group_by("stream").agg(
        pl.col("offset").max().alias("dropped"))
    by = pl.col("data").str.json_path_match("$.by").cast(pl.Int64)
    return (
        events.filter(pl.col("type") == "Added").join(dropped, on="stream", how="left")
        .filter(pl.col("offset") > pl.col("dropped").fill_null(-1)).sort("offset")
        .group_by("stream").agg(by.sum().alias("total"), by.tail(3).alias("seen"))
        .select(pl.col("stream").alias("key"), pl.col("stream").alias("name"), "total", "seen")
    )
"""


@dataclass(frozen=True)
class Kind:
    """One way to write the projection."""

    name: str
    file: str
    source: str
    reference: str
    runtime: str | None = None
    """The program that must be installed, if any."""
    handles_all: bool = False
    """Whether one function handles events of every type, so no event is unhandled."""
    handles: bool = True
    """Whether it has handlers, which may fail or be missing for a type."""

    def write(self, studio: Any) -> str:
        """Write its file into the studio's folder; return the reference to it."""
        if self.runtime is not None and shutil.which(self.runtime) is None:
            pytest.skip(f"{self.runtime} is not installed")
        studio.file(self.file, self.source)
        return self.reference

    def changed(self, studio: Any, edit: Callable[[str], str]) -> None:
        """Write its file again with edited code."""
        studio.file(self.file, edit(self.source))


KINDS = [
    Kind("module", "counter.py", _MODULE, "counter.py"),
    Kind("class", "counter.py", _CLASS, "counter.py:Counter"),
    Kind("module by name", "counter.py", _CLASS, "counter:Counter"),
    Kind("instances of a class", "counter.py", _INSTANCES, "counter.py:Counter", handles_all=True),
    Kind("one function", "counter.py", _EVOLVE, "counter.py", handles_all=True),
    Kind("routed module", "counter.py", _ROUTED, "counter.py"),
    Kind(
        "program",
        "counter.py",
        PROGRAM.replace("ROUTES", "False"),
        f"cmd:{sys.executable} counter.py",
    ),
    Kind(
        "routing program",
        "counter.py",
        PROGRAM.replace("ROUTES", "True"),
        f"cmd:{sys.executable} counter.py",
    ),
    Kind("sql", "counter.sql", SQL, "counter.sql", handles=False),
    Kind("polars", "counter.py", POLARS, "counter.py", handles=False),
    Kind("node", "counter.js", _NODE, "cmd:node counter.js", "node"),
]
