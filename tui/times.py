"""Times for people: in local time, as short as the place where they stand allows."""

from datetime import datetime


def full(time: datetime) -> str:
    """`2026-01-02 14:34:12.407`"""
    local = time.astimezone()
    text = local.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{local.microsecond // 1000:03d}" if local.microsecond else text


def short(time: datetime) -> str:
    """`2026-01-02 14:34`"""
    return time.astimezone().strftime("%Y-%m-%d %H:%M")
