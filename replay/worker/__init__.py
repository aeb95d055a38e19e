"""The worker: folds events in a process of its own, under the user's interpreter.

Standard library only, Python 3.9 and later; msgspec is used where that interpreter has it. It is
loaded under the name `refold_worker`, so that it can't collide with a module of the user's, and
imports nothing else of ours. It holds pipes to its parent and nothing else.
"""
