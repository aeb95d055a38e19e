"""What all tests share."""

import os

# Hundreds of commands are started; compiling them each time would be most of their time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
