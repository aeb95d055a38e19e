"""The `stock` sample: see its README."""
