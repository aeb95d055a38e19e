"""Names that the worker and its parent share."""

MERGED_EVENT_TYPE = "refold.Merged"
"""Type of an event that sets a document to the merged state of two forks: `data["state"]`."""
