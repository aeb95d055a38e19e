"""The workspace file: opening, locking, schema, validation, migration and rewriting."""
