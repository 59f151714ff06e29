"""What the 3D viewer looks at: pictures with their masks and focal lengths, and depth for them, computed once for all."""

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import PictureError, UserError
from ..predict import DepthMap
from .colour import as_8bit
from .geometry import OPAQUE, focal_of_35mm
from .model import LoadedModel
from .pictures import PICTURE_SUFFIXES, PictureFile, read_picture
from .viewer_scene import Shot, limits_of

Region = tuple[int, int, int, int]
REMEMBERED_BYTES = 256 * 2**20  # of depth maps and pictures
ASPECT_TOLERANCE = 0.02  # a mask may be a smaller copy, rounded, but not of another shape

# EXIF tags (Exif 2.32), by number: in the main directory, and in the one that EXIF_DIRECTORY points to.
EXIF_DIRECTORY, FOCAL_LENGTH, FOCAL_LENGTH_35MM = 0x8769, 0x920A, 0xA405
PLANE_X_RESOLUTION, PLANE_UNIT, EXIF_WIDTH, EXIF_HEIGHT = 0xA20E, 0xA210, 0xA002, 0xA003
UNIT_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0}  # PLANE_UNIT: inch, centimetre, millimetre


@dataclass(frozen=True, eq=False)
class Still:
    """A picture before its depth is known. focal: in pixels of the full picture, None if nothing tells; else see `Shot`."""

    image_bgr: np.ndarray
    name: str
    mask: np.ndarray | None
    focal: float | None
    full_wh: tuple[int, int]
    region: Region | None

    def shot(self, depth_map: DepthMap) -> Shot:
        """With its depth."""
        limits = limits_of(depth_map, self.mask)
        return Shot(self.image_bgr, depth_map, limits, self.name, self.mask, self.full_wh, self.region)


def read_still(file: PictureFile, *, mask_path: str | None = None, region: Region | None = None) -> Still:
    """A picture with everything that belongs to it. Raises UserError with one sentence."""
    image_bgr = as_8bit(read_picture(file.path))
    height, width = image_bgr.shape[:2]
    mask = read_mask(mask_for(mask_path, file.path), (height, width)) if mask_path is not None else None
    if region is not None:
        x, y, region_w, region_h = region
        image_bgr = np.ascontiguousarray(image_bgr[y : y + region_h, x : x + region_w])
        mask = mask[y : y + region_h, x : x + region_w] if mask is not None else None
    return Still(image_bgr, file.path.stem, mask, focal_from_exif(file.path, width, height), (width, height), region)


def mask_for(mask_path: str, picture: Path) -> Path:
    """The mask of a picture: a file for all of them, or a folder's file with the picture's name (of any picture type)."""
    path = Path(os.path.expanduser(mask_path))
    if not path.is_dir():
        return path
    try:
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES)
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror})") from error
    for file in files:
        if file.stem == picture.stem:
            return file
    raise PictureError(f"{path}: no mask for {picture.name} there; expected a picture called {picture.stem}.png or the like")


def read_mask(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """A picture as a mask, H W bool: what is opaque (if it has an alpha channel that says anything), else what is bright.

    A mask of another size is scaled, one of another shape refused. Raises PictureError.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except (OSError, ValueError) as error:
        raise PictureError(f"{path}: this mask cannot be read ({getattr(error, 'strerror', None) or error})") from error
    mask = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if mask is None:
        raise PictureError(f"{path}: expected a picture as a mask, white where something is to be seen")
    if mask.dtype != np.uint8:
        mask = as_8bit(mask) if mask.dtype == np.uint16 else (mask > 0).astype(np.uint8) * 255
    if mask.ndim == 3:
        has_alpha = mask.shape[2] == 4 and bool((mask[..., 3] < 255).any())
        mask = mask[..., 3] if has_alpha else mask[..., :3].max(axis=-1)
    height, width = size_hw
    if abs(mask.shape[1] / mask.shape[0] / (width / height) - 1) > ASPECT_TOLERANCE:
        raise PictureError(
            f"{path}: this mask has {mask.shape[1]} x {mask.shape[0]} pixels and its picture {width} x {height}; "
            "expected the same shape"
        )
    if mask.shape != (height, width):
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return mask > OPAQUE


def focal_from_exif(path: Path, width: int, height: int) -> float | None:
    """Focal length in pixels of a photograph of this size (upright), from its EXIF data; None where that says nothing.

    The 35 mm equivalent is preferred, because it allows for the size of the sensor and for digital zoom; else the real
    focal length with the sensor's resolution.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        return None
    try:
        with Image.open(path) as image:
            tags = image.getexif().get_ifd(EXIF_DIRECTORY)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None

    def number(tag: int) -> float:
        try:
            value = float(tags.get(tag, 0))
        except (TypeError, ValueError, ZeroDivisionError):
            return 0.0
        return value if 0 < value < 1e6 else 0.0  # NaN compares false

    if number(FOCAL_LENGTH_35MM):
        return focal_of_35mm(number(FOCAL_LENGTH_35MM), width, height)
    millimetres, resolution = number(FOCAL_LENGTH), number(PLANE_X_RESOLUTION)
    unit = UNIT_MILLIMETRES.get(int(number(PLANE_UNIT) or 2))
    if not (millimetres and resolution and unit):
        return None
    # The sensor's pixels are those of the picture as it was taken, which may have been made smaller since.
    taken = max(number(EXIF_WIDTH), number(EXIF_HEIGHT))
    return millimetres / unit * resolution * (max(width, height) / taken if taken else 1)


class DepthService:
    """The model, for several browsers at once: one prediction at a time, the newest results remembered.

    What is remembered is bounded in bytes; the least recently used goes first.
    """

    def __init__(self, model: LoadedModel, *, remembered_bytes: int = REMEMBERED_BYTES):
        self.model, self.remembered_bytes = model, remembered_bytes
        self._running, self._guard = threading.Lock(), threading.Lock()
        self._memory: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._bytes = 0

    def predict(self, image_bgr: np.ndarray, side_length: int | None = None, key: Hashable = None) -> DepthMap:
        """Depth of a picture. key: what to remember it by, together with side_length; None not to."""
        full_key = (key, side_length)
        remembered = self.recall(full_key) if key is not None else None
        if remembered is not None:
            return remembered
        with self._running:
            remembered = self.recall(full_key) if key is not None else None  # somebody else may have asked meanwhile
            if remembered is not None:
                return remembered
            depth_map = self.model.predict([image_bgr], side_length)[0]
        if key is not None:
            self.remember(full_key, depth_map, depth_map.depth.nbytes)
        return depth_map

    def recall(self, key: Hashable) -> object | None:
        """What was remembered by this key, if it is still there."""
        with self._guard:
            if key not in self._memory:
                return None
            self._memory.move_to_end(key)
            return self._memory[key][0]

    def remember(self, key: Hashable, value: object, size: int) -> None:
        """Keeps a value of so many bytes, at the cost of older ones."""
        with self._guard:
            if key in self._memory:
                self._bytes -= self._memory.pop(key)[1]
            self._memory[key] = (value, size)
            self._bytes += size
            while self._bytes > self.remembered_bytes and len(self._memory) > 1:
                self._bytes -= self._memory.popitem(last=False)[1][1]


def choose_crop(image_bgr: np.ndarray, title: str) -> Region | None:
    """Asks for a region in a window; None for the whole picture. Raises UserError where no window can be opened."""
    from .display import provide_fonts, require_display
    from .region import choose_region

    try:
        require_display()
    except UserError as error:
        raise UserError(f"--crop: {str(error).rsplit(': ', 1)[0]}: leave --crop out") from error
    provide_fonts()
    cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
    try:
        region = choose_region(title, image_bgr, (1200, 800))
    finally:
        cv2.destroyAllWindows()
    whole = (0, 0, image_bgr.shape[1], image_bgr.shape[0])
    return None if region == whole else region


def names_of(files: Sequence[PictureFile]) -> list[str]:
    """What to call pictures in a list: their paths below the searched folder, with a number where that is not enough."""
    names: list[str] = []
    for file in files:
        name, number = file.relative.as_posix(), 1
        while name in names:
            number += 1
            name = f"{file.relative.as_posix()} ({number})"
        names.append(name)
    return names
