"""Folding: runs a projection over batches of events and returns the changed documents."""
