"""Code that the generators share: times of events, notation of money, chunks of lines.

Its rule: the same seed gives the same bytes on every machine and Python version. Therefore
randomness is only `Random.random()` (never `randint` or `shuffle`, whose algorithms changed), and
arithmetic is only `+ - * /` and `int()` (never `sin`, nor `sum()` of floats, which differ).
"""

import random
from collections.abc import Callable, Iterator
from itertools import accumulate, chain, islice, repeat

START_MS = 1_767_225_600_000  # 2026-01-01T00:00Z; every log covers the week from here
DAYS = (0.6, 0.9, 1.1, 1.0, 0.8, 1.2, 1.0)
HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 14, 19, 22, 24, 27, 23, 19, 18, 19, 22, 26, 31, 29, 20, 10, 5)
# (day, first minute of the day, minutes, times the usual rate)
BURSTS = ((1, 19 * 60 + 30, 50, 4.5), (4, 11 * 60, 35, 8.0), (5, 20 * 60, 75, 3.0))

_MINUTES = 60 * 24 * len(DAYS)
_LINES_PER_CHUNK = 4096

Rnd = Callable[[], float]


def _rates(rnd: Rnd) -> list[float]:
    """Return the relative rate of events in each minute of the week, with bursts and noise."""
    rates: list[float] = []
    noise = 1.0
    for minute in range(_MINUTES):
        day, of_day = divmod(minute, 60 * 24)
        hour, of_hour = divmod(of_day, 60)
        if of_hour % 10 == 0:
            noise = 0.7 + 0.6 * rnd()
        after = HOURS[(hour + 1) % 24]
        rate = (HOURS[hour] * (60 - of_hour) + after * of_hour) / 60 * DAYS[day] * noise
        for burst_day, start, length, factor in BURSTS:
            if day == burst_day and start <= of_day < start + length:
                rate *= factor
        rates.append(rate)
    return rates


def ticks(events: int, seed: int) -> Iterator[tuple[int, str]]:
    """Yield the times of `events` events, never decreasing, as epoch milliseconds and ISO text.

    Each event takes its own share of the area under the rates, at a random point within it: time
    passes faster if the rate is low, and a longer log is a denser week, not a longer one.
    """
    rnd = random.Random(seed * 2 + 1).random
    areas = list(accumulate(_rates(rnd), initial=0.0))
    share = areas[-1] / events if events else 0.0
    thousandths = [f"{n:03d}Z" for n in range(1000)]
    minute = -1
    low = high = width = 0.0
    prefix = ""
    base = 0
    for number in range(events):
        place = (number + rnd()) * share
        while place >= high and minute + 1 < _MINUTES:
            minute += 1
            low, high = areas[minute], areas[minute + 1]
            width = 60_000 / (high - low)
            day, of_day = divmod(minute, 60 * 24)
            prefix = f"2026-01-{day + 1:02d}T{of_day // 60:02d}:{of_day % 60:02d}:"
            base = START_MS + minute * 60_000
        within = min(int((place - low) * width), 59_999)
        yield base + within, f"{prefix}{within // 1000:02d}.{thousandths[within % 1000]}"


def spread(events: int, one_in: int, least: int) -> Iterator[int]:
    """Yield evenly spread offsets for something rare: one in `one_in`, but at least `least`."""
    count = max(least, events // one_in)
    due = (events * (number + 1) // (count + 1) for number in range(count))
    return chain(due, repeat(events))


def money(cents: int) -> str:
    """Return cents as a JSON number that a double keeps: `119.9`, `120`; never `119.90`."""
    return str(cents // 100) if cents % 100 == 0 else repr(cents / 100)


def in_chunks(lines: Iterator[str]) -> Iterator[bytes]:
    """Yield lines, given without line ends, as chunks of many lines."""
    while chunk := list(islice(lines, _LINES_PER_CHUNK)):
        chunk.append("")
        yield "\n".join(chunk).encode()
