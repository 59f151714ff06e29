"""Video files, decoded by PyAV (FFmpeg): upright, with the times of their frames, passing over damaged ones."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import UserError
from .frames import Frame, FrameSource, Region

FALLBACK_RATE, HIGHEST_RATE = 25.0, 1000.0  # some files claim 90000 frames a second
STEP_AHEAD = 64  # frames: going this far is quicker by decoding on than by looking for the last key frame
MOST_ERRORS = 1000  # in a row, until a file is given up
INSTALL_AV = "pip install av==18.1.0"


def import_av():
    """The package PyAV. Raises UserError with the command that installs it."""
    try:
        import av
    except ImportError as error:
        raise UserError(f"videos need the package PyAV: {INSTALL_AV}") from error
    return av


def has_several_frames(path: Path) -> bool:
    """Whether FFmpeg finds a picture that moves in this file."""
    av = import_av()
    try:
        with av.open(str(path)) as container:
            stream = first_video_stream(container)
            return stream is not None and sum(1 for _, _ in zip(container.decode(stream), range(2), strict=False)) > 1
    except (av.FFmpegError, OSError, ValueError):
        return False


def first_video_stream(container):
    """The first stream of moving pictures, or None; the cover of an audio file is none."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition):
            return stream
    return None


class VideoFile(FrameSource):
    """The frames of one file. Frames that cannot be decoded whole are left out and counted in `skipped`."""

    def __init__(self, path: Path, *, crop: Region | None = None):
        self.path, self.av = Path(path), import_av()
        self._open()
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(0)
        if not 0 < rate <= HIGHEST_RATE:
            rate = self.stream.guessed_rate or Fraction(0)
        frame_rate = float(rate) if 0 < rate <= HIGHEST_RATE else FALLBACK_RATE
        super().__init__(self.path.stem, frame_rate=frame_rate, frame_count=self._count(frame_rate), crop=crop)

    def seek(self, index: int) -> None:
        index = max(index, 0)
        self.skipped = self.skipped if index else 0
        if self._index is None or not self._index <= index < self._index + STEP_AHEAD:  # None: nothing came after a jump
            seconds = max(index - 0.5, 0) / self.frame_rate
            try:
                self.container.seek(round(seconds / self._time_base) + self._start, stream=self.stream, backward=True)
                self._restart(None)
            except self.av.FFmpegError:  # a bare stream without an index, for example
                self.close()
                self._open()
        self._target = index

    def close(self) -> None:
        self._frames.close()
        self.container.close()

    def _open(self) -> None:
        """Opens the file at its first frame."""
        try:
            is_empty = self.path.stat().st_size == 0
            self.container = None if is_empty else self.av.open(str(self.path))
        except (self.av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{self.path}: damaged, or not a video that FFmpeg can read ({reason})") from error
        if is_empty:
            raise UserError(f"{self.path}: the file is empty")
        self.stream = first_video_stream(self.container)
        if self.stream is None or self.stream.codec_context is None:
            self.container.close()
            raise UserError(f"{self.path}: there are no moving pictures in this file")
        self.stream.thread_type = "AUTO"
        self._time_base = self.stream.time_base or Fraction(1, 90000)
        self._start = self.stream.start_time or 0
        self._pixel_aspect = self.stream.sample_aspect_ratio or Fraction(1)
        self._restart(0)

    def _restart(self, index: int | None) -> None:
        """Begins to decode at the container's position. index: of the frame there; None to go by its time."""
        self._frames = self._decode()
        self._index, self._target, self._seconds = index, None, None

    def _count(self, frame_rate: float) -> int | None:
        """How many frames there should be, as far as the file tells."""
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration:
            seconds = float(self.stream.duration * self._time_base)
        elif self.container.duration:
            seconds = self.container.duration / self.av.time_base
        else:
            return None
        return max(round(seconds * frame_rate), 1)

    def _decode(self) -> Iterator:
        """Whole frames from the container's position on. Counts the packets that hold none."""
        errors = 0
        packets = self.container.demux(self.stream)
        while errors < MOST_ERRORS:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except self.av.error.EOFError:
                return
            except (self.av.FFmpegError, ValueError):
                errors += 1
                self.skipped += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += 1
                else:
                    errors = 0
                    yield frame

    def _next(self) -> Frame | None:
        for frame in self._frames:
            seconds = self._time(frame)
            index = round(seconds * self.frame_rate) if self._index is None else self._index
            self._index, self._seconds = index + 1, seconds
            if self._target is not None and index < self._target:
                continue
            self._target = None
            return Frame(upright(frame, self._pixel_aspect), index, seconds)
        return None

    def _time(self, frame) -> float:
        """When a frame is shown. Where the file does not say so, one frame after the last."""
        if frame.pts is not None:
            return float((frame.pts - self._start) * (frame.time_base or self._time_base))
        return 0.0 if self._seconds is None else self._seconds + 1 / self.frame_rate


def upright(frame, pixel_aspect: Fraction) -> np.ndarray:
    """A decoded frame as H0 x W0 x 3 BGR, turned and mirrored as the file says, with square pixels.

    pixel_aspect: width of a pixel over its height.
    """
    size = {} if pixel_aspect == 1 else {"width": max(round(frame.width * pixel_aspect), 1), "height": frame.height}
    image_bgr = frame.to_ndarray(format="bgr24", **size)
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return apply_display_matrix(image_bgr, np.frombuffer(bytes(data), np.int32)[:9].reshape(3, 3))
    return image_bgr


def apply_display_matrix(image_bgr: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Quarter turns and mirrors, as cameras write them: (x', y') = (x, y) times the upper left 2 x 2 of the matrix."""
    a, b, c, d = (float(matrix[row, column]) for row in (0, 1) for column in (0, 1))
    if max(abs(b), abs(c)) > max(abs(a), abs(d)):  # x' goes with y: rows become columns
        image_bgr = image_bgr.transpose(1, 0, 2)  # H W 3 -> W H 3
        a, d = c, b
    return np.ascontiguousarray(image_bgr[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
