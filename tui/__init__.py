"""The user interfaces: the Textual screens and the command line."""
