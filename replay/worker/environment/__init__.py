"""The environment of the user's code: sandbox, clocks and intercepted calls."""
