"""What the worker exchanges with its parent and with programs: frames, lines and encodings."""
