"""From frames to depth videos, every frame in order, with all steps at work at the same time on different frames.

    decode | resize, normalise, transfer | infer | ends of the colours | enlarge, paint | (encode, by who takes the results)

Each bar but the last is a thread with a short queue behind it. Memory does not grow with the length of the video.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..predict import DepthMap
from .colour import Look, paint_depth
from .frames import Frame, FrameSource
from .model import LoadedModel
from .video_normalise import (
    Cuts,
    Ends,
    clip_ends,
    frame_ends,
    frames_ahead,
    range_ends,
    smooth_ends,
)
from .video_threads import RunAhead, map_in_order

CAPACITY = 2  # of the queues between the steps, in batches or frames
NO_PICTURE = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class DepthFrame:
    """A frame's depth. colour_bgr: H0 x W0 x 3 uint8, None unless asked for; ends: the (far, near) of its colours."""

    frame: Frame
    depth_map: DepthMap
    ends: Ends
    colour_bgr: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Predicted:
    """A frame after the network. prediction: H x W float32 on the CPU. domain: see DepthMap."""

    frame: Frame
    image_hw: tuple[int, int]
    prediction: Tensor
    ends: Ends
    is_cut: bool
    domain: str | None


@dataclass
class VideoDepth:
    """How a video is processed. mode: one of NORMALISATIONS. paint: make colours. keep_pictures: hand them on."""

    model: LoadedModel
    look: Look
    mode: str
    batch_size: int = 1
    paint: bool = True
    keep_pictures: bool = True
    report_clip: Callable[[int, int], None] = lambda done, total: None
    frames_done: int = 0
    batches_at_once: int = field(default=1, init=False)  # and below, threads for each: known once it runs
    threads_each: int = field(default=1, init=False)

    @property
    def nearest_is_largest(self) -> bool:
        return self.model.dpt_model.output.nearest_is_largest

    @contextmanager
    def run(self, source: FrameSource) -> Iterator[Iterator[DepthFrame]]:
        """The depth of all frames, in order, for a `with` block; its end, by whatever error, ends all threads.

        On CPUs, threads that begin meanwhile find a smaller number of PyTorch threads; afterwards it is what it was before.
        """
        threads = torch.get_num_threads()
        self.batches_at_once = self.model.batches_at_once(self.batch_size)
        self.threads_each = max(threads // self.batches_at_once, 1)
        stop = threading.Event()
        with ExitStack() as stack:
            stack.callback(torch.set_num_threads, threads)  # which the workers change for all threads that begin later
            fixed = self.fixed_ends(source)

            def ahead(items: Iterator, name: str) -> RunAhead:
                return stack.enter_context(RunAhead(items, capacity=CAPACITY, stop=stop, name=name))

            batches = ahead(in_batches(source, self.batch_size), "decode")
            tensors = ahead(((batch, self.prepare(batch)) for batch in batches), "prepare")
            predicted = ahead(self.infer(tensors), "infer")
            with_ends = self.add_ends(predicted, fixed, ahead=frames_ahead(source.frame_rate, is_live=source.is_live))
            yield ahead((self.finish(item, ends) for item, ends in with_ends), "paint")

    def fixed_ends(self, source: FrameSource) -> Ends | None:
        """The ends for the whole video, where the mode has such."""
        output = self.model.dpt_model.output
        if self.mode == "range":
            return range_ends(output.value_range, nearest_is_largest=output.nearest_is_largest)
        if self.mode == "clip" and self.paint:
            return clip_ends(source, self.measure, nearest_is_largest=output.nearest_is_largest, report=self.report_clip)
        return None

    def measure(self, images_bgr: Iterator[np.ndarray]) -> Iterator[Ends]:
        """The ends of pictures, for the first pass over a clip."""
        with RunAhead((self.model.prepare([image]) for image in images_bgr), capacity=CAPACITY, name="look ahead") as tensors:
            for prediction in self.infer_in_order(self.model.infer, tensors):
                yield frame_ends(prediction[0].numpy(), nearest_is_largest=self.nearest_is_largest)

    def infer_in_order(self, infer: Callable, tensors: Iterator) -> Iterator:
        """infer(...) of each, in order. Several frames at the same time, where the model says that this is quicker.

        On a CPU, a network whose work is shared out anew in every layer waits for the slowest thread in every layer, and the
        threads that decode and encode slow one of them down at any moment. Frames with threads of their own do not wait.
        """
        prepare = partial(torch.set_num_threads, self.threads_each)
        return map_in_order(infer, tensors, workers=self.batches_at_once, prepare=prepare)

    def prepare(self, batch: Sequence[Frame]) -> Tensor:
        return self.model.prepare([frame.image_bgr for frame in batch])

    def infer(self, tensors: Iterator[tuple[Sequence[Frame], Tensor]]) -> Iterator[Predicted]:
        """Frames with what the network says. Pictures that nobody needs any more are let go."""
        cuts = Cuts()

        def infer_batch(item: tuple[Sequence[Frame], Tensor]) -> Iterator[tuple[Frame, Tensor, str | None]]:
            return zip(item[0], *self.model.infer_with_domains(item[1]), strict=True)

        for results in self.infer_in_order(infer_batch, tensors):
            for frame, prediction, domain in results:
                self.frames_done += 1
                ends = frame_ends(prediction.numpy(), nearest_is_largest=self.nearest_is_largest)
                is_cut = self.mode == "ema" and cuts.is_cut(frame.image_bgr)
                kept = frame if self.keep_pictures else replace(frame, image_bgr=NO_PICTURE)
                yield Predicted(kept, frame.image_bgr.shape[:2], prediction.clone(), ends, is_cut, domain)

    def add_ends(self, items: Iterator[Predicted], fixed: Ends | None, *, ahead: int) -> Iterator[tuple[Predicted, Ends]]:
        if self.mode == "ema":
            return smooth_ends(items, lambda item: (item.ends, item.frame.seconds, item.is_cut), ahead=ahead)
        return ((item, fixed or item.ends) for item in items)

    def finish(self, item: Predicted, ends: Ends) -> DepthFrame:
        """Back to the frame's size, and into colours."""
        depth_map = self.model.restore(item.prediction, item.image_hw, domain=item.domain)
        if not self.paint:
            return DepthFrame(item.frame, depth_map, ends)
        paint = partial(paint_depth, nearest_is_largest=depth_map.nearest_is_largest, ends=ends)
        return DepthFrame(item.frame, depth_map, ends, paint(depth_map.depth, self.look)[0])


def in_batches(source: FrameSource, batch_size: int) -> Iterator[list[Frame]]:
    """Frames, so many at a time; the last batch may be smaller, also where the source fails (an unplugged camera)."""
    batch = []
    try:
        for frame in source:
            batch.append(frame)
            if len(batch) == batch_size:
                yield batch
                batch = []
    except UserError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
