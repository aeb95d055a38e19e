"""Projections that are one query over all events: a SQL file, or `project(events)` for Polars.

Nothing is known of how such a query goes about it, so a state is had in one way only: by asking
the query over the events up to a position. `asking` does that. Which positions have to be asked
for a history is the matter of `own_events` (every document depends on its own events only) and of
`event_by_event` (nothing is known of that).
"""
