"""Kafka as a source: `topics` decides what is read of it, the other modules do one thing each."""
