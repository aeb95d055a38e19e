"""What passes between worker and parent: frames, lines and encodings."""
