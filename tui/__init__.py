"""What a person sees and types: the screen, and the command line, its headless twin."""
