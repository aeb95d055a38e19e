"""The session that the screen shows, free of Textual."""
