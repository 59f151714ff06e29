"""Colours that stay what they are on the page: the way back through three.js' tone mapping.

viser draws meshes with "ACES filmic" tone mapping (Stephen Hill's fit), unlit ones too: black turns blacker, white grey. No
setting of a glTF file turns it off, so a texture for the page is painted with the colours that the mapping turns into the
picture's. Files that are saved keep the picture as it is.
"""

import cv2
import numpy as np

GAIN = 4.0  # the texture's white, as a multiple of what it would be: the mapping reaches white only beyond 1
BRIGHTEST = 0.95  # of the mapped light: what GAIN reaches

# The mapping: light (linear RGB, times EXPOSURE) -> INTO -> curve -> OUT_OF.
EXPOSURE = 1 / 0.6
INTO = np.array([[0.59719, 0.35458, 0.04823], [0.07600, 0.90834, 0.01566], [0.02840, 0.13383, 0.83777]])
OUT_OF = np.array([[1.60475, -0.53108, -0.07367], [-0.10208, 1.10813, -0.00605], [-0.00327, -0.07276, 1.07602]])
# The curve is (v^2 + A v - B) / (C v^2 + D v + E).
A, B, C, D, E = 0.0245786, 0.000090537, 0.983729, 0.4329510, 0.238081


def tone_map(light: np.ndarray) -> np.ndarray:
    """What three.js makes of light: linear RGB, ... x 3."""
    v = (light * EXPOSURE) @ INTO.T
    return ((v * (v + A) - B) / (v * (C * v + D) + E) @ OUT_OF.T).clip(0, 1)


def before_tone_mapping(image_bgr: np.ndarray) -> np.ndarray:
    """The texture that, times GAIN, is mapped to this picture; both H W 3 uint8 BGR."""
    linear = to_linear(np.arange(256) / 255).astype(np.float32) * np.float32(BRIGHTEST)
    wanted = cv2.transform(linear[image_bgr[..., ::-1]], np.linalg.inv(OUT_OF).astype(np.float32))  # H W 3, RGB
    y = wanted.clip(0, BRIGHTEST)
    # The curve turned over: the positive root of (1 - C y) v^2 + (A - D y) v - (B + E y) = 0.
    half, rest = (D * y - A) / 2, B + E * y
    root = (half + np.sqrt(half * half + (1 - C * y) * rest)) / (1 - C * y)
    light = cv2.transform(root.astype(np.float32), np.linalg.inv(INTO).astype(np.float32)) / np.float32(EXPOSURE)
    places = np.sqrt((light / np.float32(GAIN)).clip(0, 1)) * np.float32(len(ENCODED) - 1)  # dark light needs more places
    return np.ascontiguousarray(ENCODED[np.rint(places).astype(np.uint16)][..., ::-1])


def to_linear(values: np.ndarray) -> np.ndarray:
    """sRGB values between 0 and 1 -> linear light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light between 0 and 1 -> sRGB values."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


# sRGB of light, in 8 bits; place i stands for light (i / 4095) ** 2.
ENCODED = np.rint(255 * to_srgb(np.linspace(0, 1, 4096) ** 2)).astype(np.uint8)
