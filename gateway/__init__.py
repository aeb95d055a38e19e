"""The outside world during a replay: what was called, what was answered, what is allowed.

A worker can't reach the outside. Each call of a handler passes through this package: `broker` decides,
`recording_store` keeps calls with their answers, `redaction` removes secrets before anything is kept,
and only `live_clients` calls a service, in the modes that allow it.
"""
