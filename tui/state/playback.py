"""Playing: time goes on by itself, at a speed that a person chooses."""

SPEEDS = (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000)
"""Events a second."""


class Playback:
    """Whether time goes on, and how fast."""

    def __init__(self) -> None:
        self.on = False
        self._speed = SPEEDS.index(5)
        self._due = 0.0

    @property
    def speed(self) -> int:
        """Events a second."""
        return SPEEDS[self._speed]

    def change_speed(self, by: int) -> None:
        """To the next speed up or down, if there is one."""
        self._speed = max(0, min(self._speed + by, len(SPEEDS) - 1))

    def toggle(self) -> None:
        self.on = not self.on
        self._due = 0.0

    def due_steps(self, seconds: float) -> int:
        """How many events have become due, now that so much time has passed."""
        if not self.on:
            return 0
        self._due += seconds * self.speed
        steps = int(self._due)
        self._due -= steps
        return steps
