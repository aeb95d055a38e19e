"""From a source to the log: plan, detect, map, order and redact, then load."""
