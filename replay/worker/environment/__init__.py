"""What surrounds the user's code: sandbox, clocks, intercepted calls."""
