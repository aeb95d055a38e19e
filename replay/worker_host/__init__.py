"""The parent's side of a worker: its process, its frames and its sandbox."""
