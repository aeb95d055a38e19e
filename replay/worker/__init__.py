"""The worker: folds events in a separate process, under the user's interpreter.

The package needs only the standard library of Python 3.9 or later, and uses msgspec if that
interpreter has it. It is loaded under the name `refold_worker`, which no user module has, and
imports nothing else of refold. Its only connection is the pipes to its parent.
"""
