"""`python -m tui.cli` is `refold`."""

from tui.cli import main

main()
