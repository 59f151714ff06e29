"""Which depths get the first and the last colour in each frame of a video, so that it does not flicker.

A relative model's scale and shift change a little from frame to frame, and so do the nearest and farthest things. Painted each
by its own range ("frame"), frames flicker, even where nothing moves. Instead, the ends of the range are those of the whole clip
("clip"), or follow the frames slowly ("ema", an exponential moving average), or are the range of a model that knows metres
("range"). *Ends* are (far, near), in the model's own quantity. What is saved as numbers is never normalised.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import cv2
import numpy as np

from ..errors import UserError
from .frames import Frame, FrameSource

Ends = tuple[float, float]
Item = TypeVar("Item")

OUTLIER_PERCENT = 0.5  # of the pixels at either end get the colour of the end
SAMPLE_STEP = 3  # every third row and column is enough to know the ends
EMA_SECONDS = 1.0  # after this time, a frame counts 1/e
LOOK_AHEAD_SECONDS, MOST_AHEAD = 0.5, 30  # how far "ema" looks into the future of a file, at most so many frames
CLIP_SAMPLES = (8, 64)  # fewest and most frames that "clip" looks at beforehand
FRAMES_PER_SAMPLE = 25
THUMB_WH = (32, 18)
CUT_DIFFERENCE, CUT_RATIO = 18.0, 4.0  # grey levels between frames, and times as many as lately: another scene begins


def choose_mode(requested: str | None, *, value_range: tuple[float, float], otherwise: str) -> str:
    """The mode for a model: what was asked for, else "range" if it knows one, else `otherwise`.

    Raises UserError when "range" is asked of a model without one.
    """
    if requested == "range" and not math.isfinite(value_range[1]):
        raise UserError("--normalize range: this model's values have no range, only those of metric models do; try clip or ema")
    if requested is None:
        return "range" if math.isfinite(value_range[1]) else otherwise
    return requested


def range_ends(value_range: tuple[float, float], *, nearest_is_largest: bool) -> Ends:
    """The ends of a model that knows its range."""
    return value_range if nearest_is_largest else value_range[::-1]


def frame_ends(prediction: np.ndarray, *, nearest_is_largest: bool) -> Ends:
    """The ends of one map (H x W) without its outliers; zeros where no value is finite."""
    values = prediction[::SAMPLE_STEP, ::SAMPLE_STEP]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 0.0
    low, high = (float(end) for end in np.percentile(values, (OUTLIER_PERCENT, 100 - OUTLIER_PERCENT)))
    return (low, high) if nearest_is_largest else (high, low)


def union(ends: Iterable[Ends], *, nearest_is_largest: bool) -> Ends:
    """The ends that include all of these."""
    fars, nears = zip(*ends, strict=True)
    return (min(fars), max(nears)) if nearest_is_largest else (max(fars), min(nears))


def clip_ends(
    frames: FrameSource,
    measure: Callable[[Iterator[np.ndarray]], Iterable[Ends]],
    *,
    nearest_is_largest: bool,
    report: Callable[[int, int], None],
) -> Ends:
    """The ends of a clip, from frames all over it, the first pass of "clip". Leaves the source at its beginning.

    measure: pictures -> the ends of each. report: gets the number of frames seen and how many there will be. Raises UserError
    for live sources, whose frames come only once.
    """
    if frames.is_live:
        raise UserError("--normalize clip: there is no clip yet while a camera is running; try ema")
    frames.seek(0)
    frames.read()  # a source takes its size from the frame that is read first

    def look_at(places: list[int]) -> list[Ends]:
        found = []
        for ends in measure(frame.image_bgr for frame in frames_at(frames, places)):
            found.append(ends)
            report(len(found), len(places))
        report(len(places), len(places))
        return found

    places = sample_places(frames.frame_count or 0)
    found = look_at(places) if places else []
    if len(found) < max(min(len(places), CLIP_SAMPLES[0]), 1):  # it does not say how long it is, or ends far earlier
        found = look_at(sample_places(count_frames(frames, report)))
    frames.seek(0)
    return union(found, nearest_is_largest=nearest_is_largest) if found else (0.0, 0.0)


def count_frames(frames: FrameSource, report: Callable[[int, int], None]) -> int:
    """How many frames there really are, by reading all of them."""
    frames.seek(0)
    count = 0
    for count, _ in enumerate(frames, start=1):
        if count % FRAMES_PER_SAMPLE == 0:
            report(0, count)
    return count


def frames_at(frames: FrameSource, places: Iterable[int]) -> Iterator[Frame]:
    """The frames at these places, without those that cannot be read."""
    for place in places:
        frames.seek(place)
        frame = frames.read()
        if frame is not None:
            yield frame


def sample_places(frame_count: int) -> list[int]:
    """Indices of frames, evenly over a clip.

    >>> sample_places(3), sample_places(80)
    ([0, 1, 2], [5, 15, 25, 35, 45, 55, 65, 75])
    """
    fewest, most = CLIP_SAMPLES
    number = min(frame_count, max(fewest, min(most, frame_count // FRAMES_PER_SAMPLE)))
    return [(2 * place + 1) * frame_count // (2 * number) for place in range(number)]


class Cuts:
    """Tells where another scene begins, by the pictures, one after the other."""

    def __init__(self):
        self._last, self._usual = None, 0.0

    def is_cut(self, image_bgr: np.ndarray) -> bool:
        """Whether this picture belongs to another scene than the one before."""
        step = max(min(image_bgr.shape[0] // (4 * THUMB_WH[1]), image_bgr.shape[1] // (4 * THUMB_WH[0])), 1)
        grey = cv2.cvtColor(np.ascontiguousarray(image_bgr[::step, ::step]), cv2.COLOR_BGR2GRAY)
        thumb = cv2.resize(grey, THUMB_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._last is None:
            self._last = thumb
            return True
        difference = float(np.abs(thumb - self._last).mean())
        is_cut = difference > CUT_DIFFERENCE and difference > CUT_RATIO * self._usual
        self._last, self._usual = thumb, self._usual if is_cut else 0.8 * self._usual + 0.2 * difference
        return is_cut


class MovingEnds:
    """Exponential moving average of ends in time, past frames and, where they are known, coming ones."""

    def __init__(self):
        self.ends: Ends | None = None
        self._seconds = 0.0

    def update(self, ends: Ends, seconds: float, *, is_cut: bool, coming: Iterable[tuple[Ends, float]] = ()) -> Ends:
        """The ends for a frame at this time. coming: ends and times of the next frames, of the same scene."""
        weighted = [(np.array(ends), 1.0)]
        weighted += [(np.array(later), weight_after(moment - seconds)) for later, moment in coming]
        total = sum(weight for _, weight in weighted)
        current = sum(weight / total * pair for pair, weight in weighted)
        if self.ends is not None and not is_cut:
            keep = weight_after(seconds - self._seconds)
            current = keep * np.array(self.ends) + (1 - keep) * current
        self.ends, self._seconds = (float(current[0]), float(current[1])), seconds
        return self.ends


def weight_after(seconds: float) -> float:
    """How much a frame counts after this time. Times that run backwards, after a jump, count as a long time."""
    return math.exp(-seconds / EMA_SECONDS) if seconds >= 0 else 0.0


def smooth_ends(items: Iterable[Item], facts: Callable[[Item], tuple[Ends, float, bool]], *, ahead: int) -> Iterator[tuple]:
    """Items with their smoothed ends, each held back until `ahead` more have come.

    facts: item -> its own ends, its time in seconds, and whether a scene begins with it.
    """
    moving, waiting = MovingEnds(), deque()

    def release() -> tuple:
        item, (ends, seconds, is_cut) = waiting.popleft()
        coming = []
        for _, (later_ends, later_seconds, begins) in waiting:
            if begins:
                break
            coming.append((later_ends, later_seconds))
        return item, moving.update(ends, seconds, is_cut=is_cut, coming=coming)

    for item in items:
        waiting.append((item, facts(item)))
        if len(waiting) > ahead:
            yield release()
    while waiting:
        yield release()


def frames_ahead(frame_rate: float, *, is_live: bool) -> int:
    """How many frames "ema" looks ahead: none while a camera is running, where it would delay the picture."""
    return 0 if is_live else min(round(LOOK_AHEAD_SECONDS * frame_rate), MOST_AHEAD)
