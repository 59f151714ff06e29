"""Pictures on disk: finding them, reading them, and reading them in batches of one network size."""

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import PictureError, UserError
from ..image_processor import as_rgb
from .save import is_former_result

# Files in a folder that count as pictures. Not every OpenCV reads all of them; where it does not, that is reported
# instead of passing over somebody's photographs in silence. Formats of measurements (.pfm, .hdr, .exr) do not count.
PICTURE_SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .heic .heif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .ras .sr .tif .tiff .webp".split()
)
READ_AHEAD_BATCHES = 4  # how many batches' worth of pictures may wait in memory for others of their size


@dataclass(frozen=True)
class PictureFile:
    """A picture's path, and the same path relative to the folder that was searched, which results keep."""

    path: Path
    relative: Path


class PictureRing:
    """Pictures to look at one after the other, round and round, from the first. unreadable: how many were left out."""

    def __init__(self, files: Iterable[PictureFile]):
        self.files, self.index, self.unreadable = list(files), 0, 0

    @property
    def file(self) -> PictureFile:
        """The one that is being looked at."""
        return self.files[self.index]

    def read(self, step: int) -> np.ndarray:
        """Goes on by so many pictures; see `read_picture`.

        Those that cannot be read are reported and left out. Raises PictureError where there is no other one.
        """
        while True:
            self.index = (self.index + step) % len(self.files)
            try:
                return read_picture(self.file.path)
            except PictureError as error:
                if len(self.files) == 1:
                    raise
                print(f"Skipped: {error}", file=sys.stderr)
                self.unreadable += 1
                del self.files[self.index]
                step = min(step, 0)  # forwards, the next one has taken its place

    def __len__(self) -> int:
        return len(self.files)


def find_pictures(image_paths: Sequence[str], *, excluded_folder: str | None = None) -> list[PictureFile]:
    """All pictures that the arguments of -i name, each once, in natural order (2.png before 10.png).

    image_paths: files, folders (searched with their sub-folders) and glob patterns. A single file is taken whatever its
    name; otherwise files without a picture's suffix, hidden ones and results of former runs are passed over, and so is
    everything in excluded_folder, unless that is a searched folder itself or above it.
    A folder that cannot be listed is returned like a picture, so that reading it reports why.

    Raises UserError where something is missing or no picture is found.
    """
    named = list(dict.fromkeys(path for argument in image_paths for path in expand(argument)))
    if len(named) == 1 and not named[0].is_dir():
        return [PictureFile(named[0], Path(named[0].name))]
    base = named[0] if len(named) == 1 else common_folder(named)
    excluded = Path(os.path.abspath(excluded_folder)) if excluded_folder is not None else None

    found = []
    for path in named:
        found += list_folder(path, excluded) if path.is_dir() else [path] if is_picture_name(path) else []
    found = [path for path in dict.fromkeys(found) if not is_former_result(path)]
    if not found:
        raise UserError(f"{', '.join(image_paths)}: no pictures there; expected .jpg, .png, .webp, .tiff or the like")
    # On Windows there may be paths on other drives than the base, and they keep nothing but their name.
    relatives = [path.relative_to(base) if path.is_relative_to(base) else Path(path.name) for path in found]
    files = [PictureFile(path, relative) for path, relative in zip(found, relatives, strict=True)]
    return sorted(files, key=lambda file: natural_key(file.relative))


def expand(argument: str) -> list[Path]:
    """A file, a folder, or the matches of a glob pattern, as absolute paths. Raises UserError if nothing is there."""
    path = os.path.expanduser(argument)
    if os.path.lexists(path):  # first, because names of files may contain brackets
        return [Path(os.path.abspath(path))]
    if not glob.has_magic(path):
        raise UserError(f"{argument}: no such file or folder; expected a picture, a folder of pictures or a pattern")
    matches = sorted(glob.glob(path, recursive=True))
    if not matches:
        raise UserError(f"{argument}: no file matches this pattern")
    return [Path(os.path.abspath(match)) for match in matches]


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that all of them lie in (on Windows: all those on the first one's drive)."""
    return Path(os.path.commonpath([path.parent for path in paths if path.drive == paths[0].drive]))


def list_folder(folder: Path, excluded: Path | None) -> list[Path]:
    """Pictures below a folder, without hidden files and folders and without the excluded folder."""
    found = []

    def keep_unreadable(error: OSError) -> None:
        found.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=keep_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(parent, name) != excluded]
        found += [Path(parent, name) for name in names if is_picture_name(Path(name))]
    return found


def is_picture_name(path: Path) -> bool:
    """Whether a file's name is that of a visible picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def natural_key(path: Path) -> list:
    """Sorts numbers in names by their value and letters without case; equal names by their bytes.

    >>> sorted([Path("b10.png"), Path("b9.png"), Path("A.png")], key=natural_key)[-1].name
    'b10.png'
    """
    parts = [re.split(r"([0-9]+)", part.casefold()) for part in path.parts]  # every second piece is a number
    return [[[int(piece) if place % 2 else piece for place, piece in enumerate(part)] for part in parts], str(path)]


def read_picture(path: str | Path) -> np.ndarray:
    """A picture as H0 x W0 x 3 BGR, uint8 or uint16 (or float32 from 0 to 1), turned upright by its EXIF orientation.

    Grey becomes BGR, an alpha channel is dropped, 16 bits stay 16 bits. Any path that the system accepts will do
    (cv2.imread fails on many, on Windows). Raises PictureError with the path and the reason.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if encoded.size == 0:
        raise PictureError(f"{path}: the file is empty")
    try:
        image_bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:  # for example more pixels than OpenCV accepts
        raise PictureError(f"{path}: cannot be decoded ({error.err})") from error
    if image_bgr is None:
        raise PictureError(f"{path}: damaged, or not a picture that OpenCV can decode")
    try:
        as_rgb(image_bgr)
    except PictureError as error:  # a TIFF of measurements
        raise PictureError(f"{path}: {error}") from error
    return image_bgr


def read_in_batches(
    files: Iterable[PictureFile],
    *,
    network_size: Callable[[int, int], tuple[int, int]],
    batch_size: int,
    report: Callable[[str], None],
) -> Iterator[list[tuple[PictureFile, np.ndarray]]]:
    """Pictures with their files, in batches of at most batch_size whose network inputs have one size.

    network_size: (height, width) of a picture -> (H, W) of its network input. Reads ahead to fill batches, but only so
    far (READ_AHEAD_BATCHES); then the largest incomplete batch goes. report: gets a sentence for each picture that
    cannot be used, which is left out.
    """
    waiting: dict[tuple[int, int], list[tuple[PictureFile, np.ndarray]]] = {}
    for file in files:
        try:
            image_bgr = read_picture(file.path)
        except PictureError as error:
            report(str(error))
            continue
        try:
            size = network_size(*image_bgr.shape[:2])
        except PictureError as error:
            report(f"{file.path}: {error}")
            continue
        waiting.setdefault(size, []).append((file, image_bgr))
        if len(waiting[size]) == batch_size:
            yield waiting.pop(size)
        elif sum(len(batch) for batch in waiting.values()) >= READ_AHEAD_BATCHES * batch_size:
            yield waiting.pop(max(waiting, key=lambda size: len(waiting[size])))
    yield from waiting.values()
