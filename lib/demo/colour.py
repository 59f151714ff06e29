"""From a depth map to colours: plane removal, thresholds, contrast and colour maps."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from ..image_processor import to_unit_range
from .options import COLOUR_MAPS

# "Spectral" of ColorBrewer (Cynthia Brewer, Apache-2.0), from blue to red, the order in which nearer is warmer.
SPECTRAL_RGB = "5e4fa2 3288bd 66c2a5 abdda4 e6f598 ffffbf fee08b fdae61 f46d43 d53e4f 9e0142".split()

CODES = 65536  # values are quantised this finely before they are painted
PLANE_SAMPLES = 100_000


@dataclass(frozen=True)
class Look:
    """How a depth map is painted.

    reverse: near is dark instead of bright. equalise: spread the colours so that each covers as many pixels.
    far_percent, near_percent: the painted part of the range of values, counted from the far end. plane_percent: how
    much of a fitted plane is taken away first (see `remove_plane`).
    """

    colour_map: str = "inferno"
    reverse: bool = False
    equalise: bool = False
    far_percent: int = 0
    near_percent: int = 100
    plane_percent: int = 0


def step_colour_map(name: str, key: str) -> str:
    """The colour map after a key: c for the next, x for the previous one, round the list."""
    return COLOUR_MAPS[(COLOUR_MAPS.index(name) + (1 if key == "c" else -1)) % len(COLOUR_MAPS)]


def change_look(look: Look, key: str) -> Look:
    """The look after a key: c and x for the next and previous colour map, r reverses, e equalises; others do nothing."""
    if key and key in "cx":
        return replace(look, colour_map=step_colour_map(look.colour_map, key))
    if key == "r":
        return replace(look, reverse=not look.reverse)
    if key == "e":
        return replace(look, equalise=not look.equalise)
    return look


@dataclass(frozen=True)
class Palette:
    """Colours for values: `far` and everything beyond gets the first of CODES colours, `near` the last.

    For inverse depth, far < near; for metres, far > near. colours: CODES x 3 uint8 BGR.
    """

    far: float
    near: float
    colours: np.ndarray

    def paint(self, values: np.ndarray) -> np.ndarray:
        """Any shape of values -> the same shape x 3, uint8 BGR. What is not finite gets the far colour."""
        return np.take(self.colours, to_codes(values, self.far, self.near), axis=0)  # faster than an index


def paint_depth(
    depth: np.ndarray, look: Look, *, nearest_is_largest: bool, ends: tuple[float, float] | None = None
) -> tuple[np.ndarray, Palette]:
    """A depth map, H x W -> H x W x 3 uint8 BGR, and the palette that it was painted with.

    ends: the values that count as farthest and nearest; by default those of this map.
    """
    values = remove_plane(depth, look.plane_percent / 100)
    far, near = ends or value_ends(values, nearest_is_largest=nearest_is_largest)
    near_percent = max(look.near_percent, look.far_percent + 1)  # never an empty range
    far, near = far + (near - far) * look.far_percent / 100, far + (near - far) * near_percent / 100
    if look.equalise:
        colours = spread_colours(look, equal_shares(values, far, near))
    else:
        colours = even_colours(replace(look, far_percent=0, near_percent=100, plane_percent=0))
    palette = Palette(far, near, colours)
    return palette.paint(values), palette


def spread_colours(look: Look, brightness: np.ndarray) -> np.ndarray:
    """The look's colours for codes of this brightness (0 to 1): CODES -> CODES x 3 uint8 BGR."""
    table = colour_table(look.colour_map)[:: -1 if look.reverse else 1]
    return table[np.rint(brightness * 255).astype(np.uint8)]


@lru_cache(maxsize=2 * len(COLOUR_MAPS))
def even_colours(look: Look) -> np.ndarray:
    """CODES x 3 uint8 BGR without equalisation. Remembered, because a video asks for them with every frame."""
    return spread_colours(look, np.linspace(0, 1, CODES))


def remove_plane(depth: np.ndarray, fraction: float) -> np.ndarray:
    """Subtract this fraction of the plane a x + b y + c that fits the values best (least squares), H x W -> H x W.

    A plane in the world, such as the ground, is a plane in inverse depth too, and comes out flat; in metres it does so
    only roughly.
    """
    if fraction == 0:
        return depth
    ys, xs = (np.linspace(-1, 1, side) for side in depth.shape)
    step = 1 + math.isqrt(depth.size // PLANE_SAMPLES)  # an evenly spaced part of the pixels is enough to fit it
    samples = depth[::step, ::step].astype(np.float64)
    sample_xs, sample_ys = np.meshgrid(xs[::step], ys[::step])
    usable = np.isfinite(samples)
    coordinates = np.stack([sample_xs, sample_ys, np.ones_like(samples)], axis=-1)
    (a, b, c), *_ = np.linalg.lstsq(coordinates[usable], samples[usable], rcond=None)
    plane = a * xs[None, :] + b * ys[:, None] + c
    return depth - (fraction * plane).astype(np.float32)


def value_ends(values: np.ndarray, *, nearest_is_largest: bool) -> tuple[float, float]:
    """The farthest and the nearest of the finite values; zeros where there is none."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return (low, high) if nearest_is_largest else (high, low)


def to_codes(values: np.ndarray, far: float, near: float) -> np.ndarray:
    """Values -> uint16 codes, 0 at `far` and CODES - 1 at `near`, clipped."""
    span = np.float32(near - far)
    if span == 0:
        return np.zeros(values.shape, np.uint16)
    fraction = (values - np.float32(far)) / span
    return (np.where(np.isfinite(values), fraction, 0).clip(0, 1) * (CODES - 1)).astype(np.uint16)


def equal_shares(values: np.ndarray, far: float, near: float) -> np.ndarray:
    """Histogram equalisation: for each code the share of pixels in the range that are farther, between 0 and 1."""
    low, high = min(far, near), max(far, near)
    inside = values[(values >= low) & (values <= high)]
    counts = np.bincount(to_codes(inside, far, near).ravel(), minlength=CODES)
    farther = np.cumsum(counts) - counts
    return farther / max(farther[-1], 1)


def colour_table(name: str) -> np.ndarray:
    """256 x 3 uint8 BGR, from the farthest to the nearest colour. name: one of COLOUR_MAPS."""
    ramp = np.arange(256, dtype=np.uint8)
    if name == "gray":
        return np.stack([ramp] * 3, axis=1)
    if name == "spectral":
        anchors = np.array([list(bytes.fromhex(colour))[::-1] for colour in SPECTRAL_RGB])  # N 3, BGR
        positions = np.linspace(0, 255, len(anchors))
        channels = [np.interp(ramp, positions, channel) for channel in anchors.T]
        return np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return cv2.applyColorMap(ramp[:, None], getattr(cv2, f"COLORMAP_{name.upper()}"))[:, 0]


def as_8bit(image_bgr: np.ndarray) -> np.ndarray:
    """A picture of any type that `read_picture` returns -> uint8, for looking at."""
    return image_bgr if image_bgr.dtype == np.uint8 else np.rint(to_unit_range(image_bgr) * 255).astype(np.uint8)
