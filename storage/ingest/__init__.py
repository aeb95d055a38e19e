"""Load sources into the log: plan, detect formats, map fields, order and redact, then insert."""
