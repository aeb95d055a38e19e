"""The parent's side of the worker: its process, frames and sandbox."""
