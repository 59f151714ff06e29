"""When the next frame of a video is due, and how often frames come."""

import time
from collections import deque

MOST_BEHIND = 0.5  # seconds: beyond, the clock waits for the frames instead of chasing them
METER_FRAMES = 20


class Clock:
    """The time within a video, which runs while it is played, at any speed. `now`: seconds that only go up, for tests."""

    def __init__(self, now=time.monotonic):
        self.now, self.speed = now, 1.0
        self._video, self._real, self._runs = 0.0, now(), False

    def position(self) -> float:
        """Seconds of the video."""
        return self._video + (self.now() - self._real) * self.speed if self._runs else self._video

    def is_due(self, seconds: float) -> bool:
        """Whether a frame of this time should be on the screen by now."""
        return self._runs and self.position() >= seconds

    def show(self, seconds: float, *, runs: bool) -> None:
        """A frame of this time is on the screen now; from here on the clock runs, or stands still."""
        behind = self.position() - seconds
        if not (self._runs and runs and 0 <= behind <= MOST_BEHIND * self.speed):
            self._video, self._real, self._runs = seconds, self.now(), runs

    def stop(self) -> None:
        """Stands still until the next frame is shown."""
        self._video, self._runs = self.position(), False

    def set_speed(self, speed: float) -> None:
        if speed != self.speed:
            self._video, self._real, self.speed = self.position(), self.now(), speed


class Meter:
    """How long frames stay on the screen, on average over the last few."""

    def __init__(self, now=time.monotonic):
        self.now, self._moments = now, deque(maxlen=METER_FRAMES)

    def count(self) -> None:
        """A frame is shown now."""
        self._moments.append(self.now())

    def restart(self) -> None:
        """Forgets the past: there was a break."""
        self._moments.clear()

    def seconds(self) -> float | None:
        """Seconds from frame to frame; None before the second one."""
        count = len(self._moments) - 1
        return (self._moments[-1] - self._moments[0]) / count if count > 0 else None
