"""SQL and conditions that a person writes, checked before DuckDB sees them."""
