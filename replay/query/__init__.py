"""Questions about all states of a history: conditions, aggregates, logpoints and values over time."""
