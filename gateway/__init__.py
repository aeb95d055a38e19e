"""The outside world during a replay: what was called, what was answered, what is allowed.

The worker has no way out. Whatever a handler asks of the outside passes through here: `broker`
decides, `recordings` remember, `redaction` keeps secrets out of what is remembered, and only
`outside` ever goes out, in the modes that may.
"""
