"""The `orders` sample: see its README."""
