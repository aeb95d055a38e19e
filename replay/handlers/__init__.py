"""The user's handler code: its lines, its effects, its debugger."""
