"""Databases as sources: `tables` decides what is read and how; the other modules support one database each."""
