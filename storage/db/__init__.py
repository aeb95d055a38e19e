"""DuckDB: how refold opens a connection, runs a statement, bounds its memory and names its errors."""
