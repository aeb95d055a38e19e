"""Query projections: one query over all events, as a SQL file or as `project(events)` for Polars.

A query is opaque, so a state is computed in only one way: by running the query over the events up to
a position (`evaluation`). For a history, `per_key` chooses the positions if every document depends on
its own events only, and `per_event` evaluates the query after every event if it doesn't.
"""
