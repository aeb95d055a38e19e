"""Workspaces and `refold.toml` files from strangers, and the commands that a person runs on them."""
