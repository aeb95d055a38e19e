"""The outside world during a replay: what is allowed.

The worker has no way out (`replay.worker.clean_room`), so whatever a handler asks of the outside
passes through here.
"""
