"""Replaces the functions that read the time of day, in `time` and `datetime`.

If this Python allows it, the types `datetime` and `date` are patched in place, because libraries such
as pydantic and msgspec recognize them by identity. If not, substitute classes take their place, which
create instances of the real ones.
"""

from __future__ import annotations

import datetime as dt
import gc
import time
from typing import Any, Callable, Optional

ReadClock = Callable[[str], Optional[int]]
"""Takes a clock's name; returns microseconds since 1970 (UTC), or None for the machine's clock."""

_MICROSECONDS = 1_000_000


def replace_clocks(now: ReadClock) -> None:
    """Make all clocks read `now`. Call this before the user's code is imported."""
    real_time, real_ns, localtime, gmtime, ctime, strftime = (
        *(time.time, time.time_ns, time.localtime, time.gmtime, time.ctime),
        time.strftime,
    )

    def own_time() -> float:
        micros = now("time.time")
        return real_time() if micros is None else micros / _MICROSECONDS

    def own_ns() -> int:
        micros = now("time.time_ns")
        return real_ns() if micros is None else micros * 1000

    def by_default(real: Any, name: str) -> Any:
        def at(seconds: Any = None) -> Any:
            if seconds is None:
                micros = now(name)
                seconds = None if micros is None else micros / _MICROSECONDS
            return real(seconds)

        return at

    def own_strftime(form: str, time_tuple: Any = None) -> str:
        return strftime(form, own_localtime() if time_tuple is None else time_tuple)

    own_localtime = by_default(localtime, "time.localtime")
    time.time, time.time_ns, time.localtime = own_time, own_ns, own_localtime
    time.gmtime, time.ctime = by_default(gmtime, "time.gmtime"), by_default(ctime, "time.ctime")
    time.strftime = own_strftime
    _replace_dates(now)


def _replace_dates(now: ReadClock) -> None:
    datetime_members, date_members = _build_class_methods(now)
    if not _patch_in_place(dt.datetime, datetime_members) or not _patch_in_place(
        dt.date, date_members
    ):
        dt.datetime = _build_substitute_class(dt.datetime, datetime_members)  # type: ignore[misc]
        dt.date = _build_substitute_class(dt.date, date_members)  # type: ignore[misc]


def _build_class_methods(now: ReadClock) -> Any:
    """Return the replaced class methods of `datetime` and of `date`, by name."""

    def micros_of(name: str) -> int:
        micros = now(name)
        return time.time_ns() // 1000 if micros is None else micros

    def at(cls: Any, micros: int, tz: Any = None) -> Any:
        return cls.fromtimestamp(micros // _MICROSECONDS, tz).replace(
            microsecond=micros % _MICROSECONDS
        )

    def own_now(cls: Any, tz: Any = None) -> Any:
        return at(cls, micros_of("datetime.now"), tz)

    def own_utcnow(cls: Any) -> Any:
        return at(cls, micros_of("datetime.utcnow"), dt.timezone.utc).replace(tzinfo=None)

    def own_today(cls: Any) -> Any:
        return at(cls, micros_of("datetime.today"))

    def own_date(cls: Any) -> Any:
        return cls.fromtimestamp(micros_of("date.today") / _MICROSECONDS)

    return {"now": own_now, "utcnow": own_utcnow, "today": own_today}, {"today": own_date}


def _patch_in_place(kind: type, members: Any) -> bool:
    """Set class methods of a type that is written in C; return False if this Python can't."""
    try:
        import ctypes  # noqa: PLC0415 - some Pythons are built without it

        modified = ctypes.pythonapi.PyType_Modified
    except (ImportError, AttributeError):
        return False
    [namespace] = [ref for ref in gc.get_referents(kind.__dict__) if isinstance(ref, dict)]
    for name, function in members.items():
        function.__name__ = name
        namespace[name] = classmethod(function)
    modified(ctypes.py_object(kind))
    return True


def _build_substitute_class(real: Any, members: Any) -> Any:
    """Return a class with these class methods that creates instances of the real class."""

    class RealTypeMeta(type):
        """Makes instances of the real class instances of the substitute."""

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, real)

        def __subclasscheck__(cls, kind: Any) -> bool:
            return issubclass(kind, real)

    def new(_cls: Any, *args: Any, **named: Any) -> Any:
        return real(*args, **named)

    return RealTypeMeta(
        real.__name__,
        (real,),
        {"__new__": new, **{name: classmethod(function) for name, function in members.items()}},
    )
