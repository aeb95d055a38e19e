"""Workspaces and configurations from strangers, and the commands that a person runs on them."""
