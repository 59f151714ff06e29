"""Videos that play in browsers and on phones: H.264, 4:2:0, in an mp4 whose index comes first.

with VideoWriter("depth.mp4", frame_rate=30) as video:
    video.write(image_bgr)
"""

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from .frames import fit_into
from .video_file import has_several_frames, import_av

FEWEST_TICKS = 90_000  # a second
QUALITY, SPEED = 20, "ultrafast"  # x264's crf (lower is better) and preset: a larger file, but the network keeps the CPU
RECORDING_RATE = 30  # frames a second, at most
LARGEST_SIDE = 4096  # pixels: more than that, and phones do not play it
KEY_SECONDS = 2  # between frames that can be jumped to
BT709 = 1  # FFmpeg's number for the colours of HD video


class VideoWriter:
    """Writes frames until it is closed. The file then takes its name at once and whole.

    Until then the frames stand in NAME.PID.part.mp4, in fragments that play even if this process is killed. close(), or
    the end of a `with` block by any error or by Ctrl-C, makes a whole file of the frames done; without any frame there is
    no file. Raises UserError where nothing can be written.
    """

    def __init__(self, path: str | Path, *, frame_rate: float, size_wh: tuple[int, int] | None = None):
        """frame_rate: frames a second. size_wh: of the video; by default, that of the first frame. Others are fitted in."""
        self.path, self.av, self.frames = Path(path), import_av(), 0
        self.rate = Fraction(frame_rate).limit_denominator(100_000)
        self.ticks = self.rate.numerator * math.ceil(FEWEST_TICKS / self.rate.numerator)  # a frame is a whole number of them
        self.size_wh, self.container = size_wh, None
        self.part = self.path.with_name(f"{self.path.stem}.{os.getpid()}.part.mp4")

    def write(self, image_bgr: np.ndarray, *, seconds: float | None = None) -> None:
        """Appends a picture (H x W x 3 uint8). seconds: when it is shown; by default, one frame after the last."""
        try:
            if self.container is None:
                self._open(self.size_wh or (image_bgr.shape[1], image_bgr.shape[0]))
            image_bgr = fit_into(image_bgr, self.size_wh) if image_bgr.shape[1::-1] != self.size_wh else image_bgr
            if image_bgr.shape[1::-1] != self.encoded_wh:
                image_bgr = self._even(image_bgr)
            frame = self.av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image_bgr), format="bgr24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            ticks = round((self.frames / self.rate if seconds is None else Fraction(seconds)) * self.ticks)
            self.last_ticks = ticks = ticks if self.frames == 0 else max(ticks, self.last_ticks + 1)
            frame.pts, frame.time_base = ticks, Fraction(1, self.ticks)
            self.container.mux(self.stream.encode(frame))
        except (self.av.FFmpegError, OSError) as error:
            raise UserError(f"{self.path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
        self.frames += 1

    def close(self) -> None:
        """Finishes the file and gives it its name."""
        container, self.container = self.container, None
        if container is None:
            return
        whole = self.part.with_name(f"{self.path.stem}.{os.getpid()}.whole.mp4")
        try:
            container.mux(self.stream.encode(None))
            container.close()
            self._index_first(whole)
            os.replace(whole, self.path)
        except (self.av.FFmpegError, OSError) as error:
            self._keep_fragments()
            raise UserError(f"{self.path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
        finally:
            for leftover in (self.part, whole):
                with suppress(OSError):
                    leftover.unlink(missing_ok=True)

    def _open(self, size_wh: tuple[int, int]) -> None:
        """Makes the file, once the size is known."""
        scale = min(1, LARGEST_SIDE / max(size_wh))
        if scale < 1:
            print(f"{self.path.name} is scaled down to {LARGEST_SIDE} pixels, which is as much as most players take.")
        self.size_wh = tuple(max(int(scale * side), 1) for side in size_wh)
        self.encoded_wh = tuple(side + side % 2 for side in self.size_wh)  # 4:2:0 halves the colours' resolution
        self.path.parent.mkdir(parents=True, exist_ok=True)
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        self.container = self.av.open(str(self.part), "w", format="mp4", options=options)
        try:
            self.stream = self.container.add_stream("libx264", rate=self.rate)
        except (self.av.FFmpegError, ValueError) as error:
            raise UserError("this PyAV was built without the H.264 encoder x264; pip's own has it") from error
        stream = self.stream
        stream.width, stream.height, stream.pix_fmt = *self.encoded_wh, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, self.ticks)
        stream.codec_context.gop_size = max(round(KEY_SECONDS * self.rate), 1)
        stream.options = {"crf": str(QUALITY), "preset": SPEED}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1  # 16 to 235

    def _even(self, image_bgr: np.ndarray) -> np.ndarray:
        """One more row or column, like the last, where the number of them is odd."""
        right, below = (self.encoded_wh[place] - self.size_wh[place] for place in (0, 1))
        return cv2.copyMakeBorder(image_bgr, 0, below, 0, right, cv2.BORDER_REPLICATE)

    def _index_first(self, whole: Path) -> None:
        """Copies the fragments into one plain mp4, whose index comes first, so that browsers begin at once."""
        copied = size = 0
        options = {"movflags": "+faststart"}
        with self.av.open(str(self.part)) as parts, self.av.open(str(whole), "w", format="mp4", options=options) as output:
            source = parts.streams.video[0]
            target = output.add_stream_from_template(source)
            for packet in parts.demux(source):
                if packet.dts is not None:
                    copied, size = copied + 1, size + packet.size
                    packet.stream = target
                    output.mux(packet)
        if copied < self.frames or whole.stat().st_size < size:  # FFmpeg does not report every failure to write
            raise OSError(f"{copied} of {self.frames} frames could be stored; is the disk full?")

    def _keep_fragments(self) -> None:
        """Where the disk is full: what there is of the fragments plays, too."""
        with suppress(OSError):
            if has_several_frames(self.part):
                os.replace(self.part, self.path)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Recorder:
    """A video of what is seen on the screen, in real time. now: seconds that only go up, for tests."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.monotonic):
        self.writer, self.now = VideoWriter(path, frame_rate=RECORDING_RATE), now
        self.start, self.last, self.seen = now(), -math.inf, None

    def add(self, image_bgr: np.ndarray) -> None:
        """This is on the screen from now on. Changes that follow each other too closely become one."""
        self.seen, seconds = image_bgr, self.now() - self.start
        if seconds - self.last >= 0.9 / RECORDING_RATE:
            self.writer.write(image_bgr, seconds=seconds)
            self.last = seconds

    def close(self) -> None:
        """Finishes the file, with what is on the screen until now."""
        if self.seen is not None:
            self.writer.write(self.seen, seconds=self.now() - self.start)
        self.writer.close()


def free_path(path: Path) -> Path:
    """This file name, with a number appended where it is taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return free
