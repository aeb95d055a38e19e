"""A bounded process that parses files which their library doesn't validate."""
