"""Videos for tests, written by PyAV alone, whose frames show their own number; cameras and models that are none."""

import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch

import run_video
from lib.demo.frames import Frame, FrameSource
from lib.demo.script import run_script
from lib.dpt_model import OutputKind
from lib.predict import DepthMap

WIDTH, HEIGHT, BITS = 96, 64, 8
TICKS = 1000  # a second, in files whose frames last unequally long
SIDE = 56  # of the network's input, for speed
RELATIVE = OutputKind("inverse depth", nearest_is_largest=True, value_range=(0.0, float("inf")))
METRES = OutputKind("metres", nearest_is_largest=False, value_range=(0.0, 20.0))


def numbered(number: int) -> np.ndarray:
    """HEIGHT x WIDTH x 3: the upper half shows a number in black and white bars; below, the left is red, the right is blue."""
    image_bgr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    bar = WIDTH // BITS
    for bit in range(BITS):
        image_bgr[: HEIGHT // 2, bar * bit : bar * (bit + 1)] = 235 if number >> bit & 1 else 20
    image_bgr[HEIGHT // 2 :, : WIDTH // 2] = (30, 30, 200)
    image_bgr[HEIGHT // 2 :, WIDTH // 2 :] = (200, 30, 30)
    return image_bgr


def number_in(image_bgr: np.ndarray) -> int:
    """The number that a frame shows."""
    bar = WIDTH // BITS
    return sum(1 << bit for bit in range(BITS) if image_bgr[HEIGHT // 4, bar * bit + bar // 2].mean() > 127)


def write_video(
    path: Path,
    frames: int | Sequence[np.ndarray] = 20,
    *,
    rate: int | Fraction = 10,
    codec: str = "libx264",
    seconds: Sequence[float] | None = None,
    rotation: int | None = None,
    matrix: Sequence[int] | None = None,
    pixel_aspect: Fraction | None = None,
    options: dict | None = None,
) -> Path:
    """A video of numbered frames, or of these. seconds: when each is shown. rotation: as phones write it, in degrees."""
    import av

    images = [numbered(number) for number in range(frames)] if isinstance(frames, int) else frames
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = options or ({"crf": "12", "g": "8"} if codec == "libx264" else {})
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if seconds is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        for place, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            if seconds is not None:
                frame.pts, frame.time_base = round(seconds[place] * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(frames) -> list[int]:
    return [number_in(frame.image_bgr) for frame in frames]


class MadeUpFrames(FrameSource):
    """Endless frames without a file, each as bright as `brightness` says. failing_at: raises `error` there."""

    def __init__(self, count: int, *, brightness=lambda index: index % 200, failing_at=None, error=None, hw=(48, 64)):
        super().__init__("made up", frame_rate=30.0, frame_count=count)
        self.count = count  # frame_count is what it says; a test may make it lie
        self.brightness, self.failing_at, self.error, self.hw, self.place = brightness, failing_at, error, hw, 0

    def _next(self) -> Frame | None:
        index, self.place = self.place, self.place + 1
        if index == self.failing_at:
            raise self.error
        if index >= self.count:
            return None
        image_bgr = np.full((*self.hw, 3), self.brightness(index), np.uint8)
        return Frame(image_bgr, index, index / self.frame_rate)

    def seek(self, index: int) -> None:
        self.place = index


class StubModel:
    """As LoadedModel, but "depth" is the brightness of a few places of the picture. seconds: what a batch takes."""

    def __init__(
        self, output: OutputKind = RELATIVE, *, seconds: float = 0.0, failing_at: int | None = None, batches_at_once: int = 1
    ):
        self.batches_at_once = lambda batch_size: batches_at_once
        self.domain = None
        self.dpt_model = SimpleNamespace(output=output)
        self.seconds, self.failing_at, self.batches = seconds, failing_at, []

    def prepare(self, images_bgr):
        return torch.stack([torch.from_numpy(image[::8, ::8].astype(np.float32)).permute(2, 0, 1) for image in images_bgr])

    def infer(self, batch):
        self.batches.append(len(batch))
        if self.failing_at is not None and sum(self.batches) > self.failing_at:
            raise RuntimeError("the network failed")
        time.sleep(self.seconds)
        return batch.mean(dim=1) / 10  # B 3 H W -> B H W

    def infer_with_domains(self, batch):
        return self.infer(batch), [self.domain] * len(batch)

    def restore(self, prediction, image_hw, domain=None):
        depth = cv2.resize(prediction.numpy(), image_hw[::-1], interpolation=cv2.INTER_NEAREST)
        output = self.dpt_model.output
        return DepthMap(depth, output.quantity, output.nearest_is_largest, output.value_range, domain)

    def facts(self, image_bgr):
        return {"model": "stub", "weights": "none", "network_size": {"height": 6, "width": 8}}


class FakeCapture:
    """As cv2.VideoCapture. pictures: how many it gives; `then`: what it does afterwards, "fails", "hangs" or "raises"."""

    def __init__(self, pictures: int, *, then: str = "fails", opens: bool = True, interval: float = 0.005):
        self.pictures, self.then, self.opens, self.interval = pictures, then, opens, interval
        self.given, self.released = 0, False

    def __call__(self, number: int) -> "FakeCapture":
        return self

    def isOpened(self) -> bool:
        return self.opens

    def get(self, _property: int) -> float:
        return 25.0

    def read(self):
        time.sleep(self.interval)
        if self.given < self.pictures:
            self.given += 1
            return True, numbered(self.given % 256)
        if self.then == "hangs":
            time.sleep(30)
        if self.then == "raises":
            raise cv2.error("the driver is gone")
        return False, None

    def release(self) -> None:
        self.released = True


def command_line(*arguments: object) -> int:
    """The exit code of run_video.py with these arguments, in this process."""
    return run_script(run_video.main, run_video.parse_args([str(argument) for argument in arguments]))


def run(weights: Path, video: object, output: Path, *more: object) -> int:
    """The exit code of run_video.py for a video, on the CPU and with small network inputs."""
    return command_line("-i", video, "-o", output, "-m", weights, "-d", "cpu", "-b", SIDE, *more)
