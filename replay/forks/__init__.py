"""Forks: what differs on one from its parent, folding that and only that, and trying many at once."""
