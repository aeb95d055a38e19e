"""Playback: the position advances by itself at a chosen speed."""

SPEEDS = (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000)
"""Events per second."""


class Playback:
    """Whether playback is on, and its speed."""

    def __init__(self) -> None:
        self.on = False
        self._speed = SPEEDS.index(5)
        self._due = 0.0

    @property
    def speed(self) -> int:
        """Events per second."""
        return SPEEDS[self._speed]

    def change_speed(self, by: int) -> None:
        """Change to the next faster (1) or slower (-1) speed, if there is one."""
        self._speed = max(0, min(self._speed + by, len(SPEEDS) - 1))

    def toggle(self) -> None:
        self.on = not self.on
        self._due = 0.0

    def due_steps(self, seconds: float) -> int:
        """Return how many events are due after these seconds have passed."""
        if not self.on:
            return 0
        self._due += seconds * self.speed
        steps = int(self._due)
        self._due -= steps
        return steps
