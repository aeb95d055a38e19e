"""Commands that are killed, interrupted or meet a full disk, and writers at the same time."""
