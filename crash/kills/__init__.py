"""Commands that are killed, interrupted or out of room, and writers that write at the same time."""
