"""Bytes, streams, hashes and timestamps that sources and formats share."""
