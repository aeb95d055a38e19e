"""Buckets of keys, by which the history is sorted; see `storage.workspace.schema.folds.HISTORY`."""

import hashlib
from collections.abc import Iterable

BUCKET_SQL = "CAST(md5_number(key) & 4294967295 AS UINTEGER)"
"""SQL for the bucket of the column `key`."""


def compute_bucket(key: str) -> int:
    """Return the bucket of a key, which equals `BUCKET_SQL`."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little")


def is_in_buckets_sql(keys: Iterable[str]) -> str:
    """Return the SQL condition for rows in the buckets of these keys."""
    return f"bucket IN ({', '.join(str(compute_bucket(key)) for key in keys) or 'NULL'})"
