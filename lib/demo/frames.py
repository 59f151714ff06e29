"""Moving pictures, one frame after another: from a video file, a sequence of pictures, or a camera.

    with open_frames("clip.mp4") as frames:
        for frame in frames:
            print(frame.index, frame.seconds, frame.image_bgr.shape)

Video files are read by video_file.py, cameras by video_camera.py.
"""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import PictureError, UserError
from .colour import as_8bit
from .pictures import PICTURE_SUFFIXES, PictureFile, find_pictures, read_picture
from .samples import SAMPLE_VIDEO

VIDEO_SUFFIXES = frozenset(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".f4v",
        ".flv",
        ".h264",
        ".h265",
        ".hevc",
        ".m2ts",
        ".m4v",
        ".mjpeg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    ]
)
MOVING_PICTURE_SUFFIXES = frozenset({".gif", ".apng"})  # one picture or many: only their contents tell
PICTURE_RATE = 25.0  # frames a second of a sequence of pictures, which says nothing about it

Region = tuple[int, int, int, int]  # x, y, width, height in a frame's pixels


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    image_bgr: H0 x W0 x 3 uint8, upright. index: its number from 0 on; after a jump in a file whose frames last unequally
    long, as many as there would be at the average rate. seconds: when it is shown, from the first frame on.
    """

    image_bgr: np.ndarray
    index: int
    seconds: float


class FrameSource:
    """Gives frames in order. Every frame of a source has the same size.

    name: for titles and the names of results. frame_rate: frames a second, on average. frame_count: how many there
    should be; None where nobody knows, as with a camera. is_live: frames come by themselves, and cannot be had again.
    skipped: how many could not be decoded, since the source was at its beginning. crop: a part of each frame to use (x, y,
    width, height) instead of the whole; may be set until the first frame is read.

    To be used by one thread at a time.
    """

    is_live = False

    def __init__(self, name: str, *, frame_rate: float, frame_count: int | None = None, crop: Region | None = None):
        self.name, self.frame_rate, self.frame_count, self.crop = name, frame_rate, frame_count, crop
        self.skipped = 0
        self._size_wh: tuple[int, int] | None = None  # of the first frame, before the crop

    def read(self) -> Frame | None:
        """The next frame; None after the last one.

        Raises UserError with one sentence when the source fails, or holds no frame at all.
        """
        frame = self._next()
        if frame is None:
            if self._size_wh is None and not self.is_live:
                raise UserError(f"{self.name}: not one frame of it can be decoded; is it damaged?")
            return None
        image_bgr = frame.image_bgr
        if self._size_wh is None:
            self._size_wh = (image_bgr.shape[1], image_bgr.shape[0])
        image_bgr = fit_into(image_bgr, self._size_wh)
        if self.crop is not None:
            x, y, width, height = self.crop
            image_bgr = image_bgr[y : y + height, x : x + width]
            if image_bgr.size == 0:
                raise UserError(f"{self.name}: the region {self.crop} lies outside its {self._size_wh} pixels")
        return Frame(np.ascontiguousarray(image_bgr), frame.index, frame.seconds)

    def seek(self, index: int) -> None:
        """Makes this frame the next one. Raises UserError for live sources."""
        raise UserError(f"{self.name}: one cannot go back or forth in live pictures")

    def close(self) -> None:
        """Lets go of the file or device."""

    def _next(self) -> Frame | None:
        """The next frame as it comes."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def __enter__(self) -> "FrameSource":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class PictureFrames(FrameSource):
    """Pictures as a video, in the order of their names. Those that cannot be read are counted in `skipped`."""

    def __init__(self, name: str, files: Sequence[PictureFile], *, frame_rate: float, crop: Region | None = None):
        super().__init__(name, frame_rate=frame_rate, frame_count=len(files), crop=crop)
        self.files, self._place, self._reported = list(files), 0, set()

    def _next(self) -> Frame | None:
        while self._place < len(self.files):
            place, self._place = self._place, self._place + 1
            try:
                return Frame(as_8bit(as_bgr(read_picture(self.files[place].path))), place, place / self.frame_rate)
            except PictureError as error:
                if len(self.files) == 1:
                    raise
                self.skipped += 1
                if place not in self._reported:
                    print(f"Skipped: {error}", file=sys.stderr)
                self._reported.add(place)
        return None

    def seek(self, index: int) -> None:
        self._place = min(max(index, 0), len(self.files))
        self.skipped = self.skipped if self._place else 0


def open_frames(
    path: str | Path | Sequence[str | Path] | None,
    *,
    webcam: int | None = None,
    crop: Region | None = None,
    picture_rate: float = PICTURE_RATE,
) -> FrameSource:
    """Where the frames come from: a video file, pictures (a folder, a glob pattern, several files), or a camera.

    path: None for the sample video. webcam: the camera of this number instead. crop: see FrameSource. picture_rate:
    frames a second, for pictures. Raises UserError with one sentence where there is nothing to read.
    """
    if webcam is not None:
        from .video_camera import CameraFrames

        return CameraFrames(webcam, crop=crop)
    if path is None:
        if not SAMPLE_VIDEO.is_file():
            raise UserError("no video given: pass one with -i, for example -i clip.mp4, or --use_webcam for a camera")
        path = SAMPLE_VIDEO
    paths = [str(path)] if isinstance(path, str | Path) else [str(part) for part in path]
    if len(paths) == 1:
        video = as_file(paths[0])
        if video is not None and is_video(video):
            from .video_file import VideoFile

            return VideoFile(video, crop=crop)
    videos = [part for part in paths if Path(part).suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        raise UserError(f"{', '.join(videos[:3])}: one video at a time, please, or several pictures")
    files = find_pictures(paths)
    # A shot is what lies in one folder. Folders below it may hold other shots, or the results of this one.
    files = [file for file in files if len(file.relative.parts) == 1] or files
    return PictureFrames(sequence_name(paths[0], files), files, frame_rate=picture_rate, crop=crop)


def as_file(argument: str) -> Path | None:
    """The file that an argument names, maybe by a pattern that only one file matches; None for anything else.

    Raises UserError if nothing is there.
    """
    path = Path(os.path.expanduser(argument))
    if os.path.lexists(path):
        return None if path.is_dir() else path
    matches = glob.glob(str(path), recursive=True) if glob.has_magic(str(path)) else []
    if not matches:
        raise UserError(f"{argument}: no such file; expected a video, or pictures as a folder or pattern")
    videos = [Path(match) for match in matches if Path(match).suffix.lower() in VIDEO_SUFFIXES]
    if len(videos) > 1:
        raise UserError(f"{argument}: {len(videos)} videos match this pattern; one at a time, please")
    return videos[0] if len(matches) == 1 and videos else None


def sequence_name(argument: str, files: Sequence[PictureFile]) -> str:
    """What a sequence of pictures is called: like its folder, or like the only picture."""
    if len(files) == 1:
        return files[0].path.stem
    path = Path(os.path.abspath(os.path.expanduser(argument)))
    return (path if path.is_dir() else files[0].path.parent).name or "pictures"


def is_video(path: str | Path) -> bool:
    """Whether this file is a video rather than a picture: by its suffix, and where that leaves it open, by its contents.

    Empty and damaged files with a video's suffix are videos: reading them says what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    if suffix in PICTURE_SUFFIXES - MOVING_PICTURE_SUFFIXES:
        return False
    from .video_file import has_several_frames

    return has_several_frames(path)


def as_bgr(image: np.ndarray) -> np.ndarray:
    """H0 x W0 (grey), x 3 or x 4 -> H0 x W0 x 3."""
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image[..., :3]


def fit_into(image_bgr: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The picture as it is if it has this size; otherwise scaled into the middle of it, with black margins."""
    height, width = image_bgr.shape[:2]
    if (width, height) == size_wh:
        return image_bgr
    scale = min(size_wh[0] / width, size_wh[1] / height)
    inner_w, inner_h = (max(1, min(round(scale * side), most)) for side, most in zip((width, height), size_wh, strict=True))
    fitted = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    x, y = (size_wh[0] - inner_w) // 2, (size_wh[1] - inner_h) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted[y : y + inner_h, x : x + inner_w] = cv2.resize(image_bgr, (inner_w, inner_h), interpolation=interpolation)
    return fitted
