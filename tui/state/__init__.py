"""The state that the screen shows: session, view state, snapshots. Only `view_state` uses Textual."""
