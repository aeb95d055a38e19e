"""Kafka as a source: `topics` decides which partitions and offsets are read, and owns the consumer."""
