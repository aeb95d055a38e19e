"""The `accounts` sample: see its README."""
