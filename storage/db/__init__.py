"""DuckDB: opening a connection, running a statement, bounding its memory, translating its errors."""
