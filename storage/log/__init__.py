"""The loaded events: read, count and order them."""
