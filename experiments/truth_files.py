"""Reading one file of measured depth: metres as float32, NaN where nothing was measured.

`experiments/truth_files.py` serves experiments/datasets.py. Shapes: H W of the stored map; it is never resized.
"""

from pathlib import Path

import cv2
import numpy as np

from lib.errors import UserError

NYU_METRES_8BIT = 10 / 255  # of the Kaggle layout's training PNGs: 255 is 10 m
NYU_METRES_16BIT = 1 / 1000  # of its test PNGs: millimetres


class SampleError(UserError):
    """One picture of a data set, or its truth, cannot be used. The message names the file and the reason."""


def read_png(path: Path, *, metres_per_unit: float) -> np.ndarray:
    """A depth picture of whole numbers or floats, one channel -> H x W float32 metres; 0 means not measured."""
    return to_metres(decode(path), metres_per_unit)


def read_scaled(path: Path, *, metres_per_unit: float) -> np.ndarray:
    """The same for a picture or, by the suffix, an .npy file."""
    raw = load_array(path) if path.suffix.lower() == ".npy" else decode(path)
    return to_metres(raw, metres_per_unit)


def read_nyu(path: Path) -> np.ndarray:
    """Depth of the Kaggle NYU layout: 8 bits (training) or 16 bits (test), which tells the scale."""
    raw = decode(path)
    if raw.dtype not in (np.uint8, np.uint16):
        raise SampleError(f"{path}: expected depth of 8 or 16 bits, not {raw.dtype}")
    return to_metres(raw, NYU_METRES_8BIT if raw.dtype == np.uint8 else NYU_METRES_16BIT)


def read_diode(path: Path, *, mask_path: Path) -> np.ndarray:
    """Metres of an .npy file (H x W or H x W x 1) where the mask is not 0."""
    depth, mask = load_array(path), load_array(mask_path)
    if depth.shape != mask.shape:
        raise SampleError(f"{mask_path}: its size {mask.shape} is not that of the depth, {depth.shape}")
    return to_metres(np.where(mask != 0, depth, np.nan), 1.0)


def decode(path: Path) -> np.ndarray:
    """A one-channel picture as it is stored, H x W. Any path that the system has will do (cv2.imread fails on some)."""
    try:
        encoded = np.fromfile(path, np.uint8)
        raw = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    except (OSError, ValueError) as error:
        raise SampleError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except cv2.error as error:
        raise SampleError(f"{path}: cannot be decoded ({error.err})") from error
    if raw is None:
        raise SampleError(f"{path}: empty, damaged, or not a picture that OpenCV can decode")
    if raw.ndim != 2:
        raise SampleError(f"{path}: expected depth in one channel, found {raw.shape[2]}")
    return raw


def load_array(path: Path) -> np.ndarray:
    """A map from an .npy file, H x W or H x W x 1 -> H x W. Objects are never unpickled."""
    try:
        array = np.load(path, allow_pickle=False)
    except (EOFError, MemoryError, OSError, ValueError) as error:
        raise SampleError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise SampleError(f"{path}: expected one array of numbers")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]  # H W 1 -> H W
    if array.ndim != 2:
        raise SampleError(f"{path}: expected a map of H x W, found shape {array.shape}")
    return array


def to_metres(raw: np.ndarray, metres_per_unit: float) -> np.ndarray:
    """Stored numbers -> float32 metres; NaN where they are not finite or not above zero."""
    with np.errstate(invalid="ignore", over="ignore"):
        metres = (raw.astype(np.float64) * metres_per_unit).astype(np.float32)
        return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))
