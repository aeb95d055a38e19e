"""The event log of a workspace: reading events, resolving positions, counting, finding irregularities."""
