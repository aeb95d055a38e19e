"""Times for people, in local time."""

from datetime import UTC, datetime


def format_full_time(time: datetime) -> str:
    """Return a time like `2026-01-02 14:34:12.407`; whole seconds have no fraction."""
    local = _local(time)
    text = local.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{local.microsecond // 1000:03d}" if local.microsecond else text


def format_short_time(time: datetime) -> str:
    """Return a time like `2026-01-02 14:34`."""
    return _local(time).strftime("%Y-%m-%d %H:%M")


def _local(time: datetime) -> datetime:
    try:
        return time.astimezone()
    except (OverflowError, OSError, ValueError):
        # The first and last days of the calendar may have no local time.
        return time.astimezone(UTC)
