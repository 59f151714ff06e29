"""Depth of whatever frame is on the screen: one at a time, with the ends of its colours in every mode at once."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..predict import DepthMap
from .frames import Frame, FrameSource, Region
from .model import LoadedModel
from .options import NORMALISATIONS
from .video_normalise import Cuts, Ends, MovingEnds, choose_mode, clip_ends, frame_ends, range_ends


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame with its depth. ends: mode -> (far, near), for "clip" those to use until the clip's are known.

    seconds: what the network took.
    """

    frame: Frame
    depth_map: DepthMap
    ends: dict[str, Ends]
    seconds: float


class LiveDepth:
    """Predicts in the player's worker; everything but `closing` and `check` is the worker's alone."""

    def __init__(self, model: LoadedModel, *, is_live: bool):
        self.model, self.is_live, self.output = model, is_live, model.dpt_model.output
        self.closing = False  # set when the window is closed: a look over the clip then ends early
        self.clip: Ends | None = None
        self._cuts, self._moving = Cuts(), MovingEnds()

    def check(self, requested: str | None) -> str:
        """The mode to begin with. Raises UserError for one that this model or source cannot have."""
        if requested == "clip" and self.is_live:
            raise UserError("--normalize clip: there is no clip while a camera is running; try ema")
        return choose_mode(requested, value_range=self.output.value_range, otherwise="ema")

    def mode_after(self, mode: str) -> str:
        """The next mode that this model and source can have."""
        place = NORMALISATIONS.index(mode)
        for candidate in (*NORMALISATIONS[place + 1 :], *NORMALISATIONS[:place]):
            try:
                return self.check(candidate)
            except UserError:
                continue
        return mode

    def predict(self, frame: Frame) -> LiveFrame:
        """The depth of a frame, at its size."""
        tensor = self.model.prepare([frame.image_bgr])
        start = time.perf_counter()
        prediction = self.model.infer(tensor)[0]
        seconds = time.perf_counter() - start
        depth_map = self.model.restore(prediction, frame.image_bgr.shape[:2])
        own = self._measure(prediction)
        smooth = self._moving.update(own, frame.seconds, is_cut=self._cuts.is_cut(frame.image_bgr))
        ends = {
            "frame": own,
            "ema": smooth,
            "clip": smooth,
            "range": range_ends(self.output.value_range, nearest_is_largest=self.output.nearest_is_largest),
        }
        return LiveFrame(frame, depth_map, ends, seconds)

    def ends(self, depth: LiveFrame, mode: str) -> Ends:
        """The ends of a frame's colours; those of the clip as soon as they are known."""
        return (self.clip if mode == "clip" else None) or depth.ends[mode]

    def measure_clip(self, reopen: Callable[[], FrameSource], crop: Region | None) -> None:
        """The first pass of "clip", on a source of its own. reopen: gives the clip a second time."""

        def stop_early(done: int, total: int) -> None:
            if self.closing:
                raise UserError("the window was closed")

        def measure(images_bgr: Iterable[np.ndarray]) -> Iterator[Ends]:
            return (self._measure(self.model.infer(self.model.prepare([image]))[0]) for image in images_bgr)

        with reopen() as source:
            source.crop = crop
            self.clip = clip_ends(
                source,
                measure,
                nearest_is_largest=self.output.nearest_is_largest,
                report=stop_early,
            )

    def _measure(self, prediction) -> Ends:
        return frame_ends(prediction.numpy(), nearest_is_largest=self.output.nearest_is_largest)
