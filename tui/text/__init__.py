"""Text for the screen and the terminal: sanitised, formatted."""
