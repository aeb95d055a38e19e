"""Words that the worker and its parent share."""

MERGED_EVENT_TYPE = "refold.Merged"
"""The type of an event that says what a document is, where two forks were joined: `data["state"]`."""
