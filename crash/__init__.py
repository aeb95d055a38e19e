"""A campaign against refold: kills, fuzzed inputs, escapes and hostile workspaces. See docs/safety.md.

`make crash` runs it in its long form, `make test-all` in its short one. It needs Linux.
"""
