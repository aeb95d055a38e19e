"""The workspace file: open, lock, schema, validation, migration and rewriting."""
