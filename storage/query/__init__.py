"""SQL queries and conditions of the user, checked before DuckDB runs them."""
