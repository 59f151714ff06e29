"""The library of patterns as one tensor with levels of detail: painted once per process, looked up by all scenes.

Letters: S texture side, D number of textures.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .canvas import SIDE, Canvas
from .patterns import RECIPES

LEVELS = 8  # of detail, each with half the side of the one before


def _numbers() -> dict[str, range]:
    first, numbers = 0, {}
    for painter, count in RECIPES.items():
        numbers[painter.__name__] = range(first, first + count)
        first += count
    return numbers


TEXTURES = _numbers()  # name -> the numbers of its variants in the library

TEXELS = sum((SIDE >> level) ** 2 for level in range(LEVELS))  # of a whole texture, finest level first


def level_start(side: Tensor) -> Tensor:
    """The first texel, within its texture, of the level with this side: the sum of the finer levels' squares."""
    return torch.div((SIDE * SIDE - side * side) * 4, 3, rounding_mode="floor")


def shrink(image: Tensor) -> Tensor:
    """Half the size; the opacity is shifted so that as many texels as before are opaque. 4 S S -> 4 S/2 S/2"""
    half = torch.nn.functional.avg_pool2d(image[None], 2)[0]
    opaque = (image[3] >= 0.5).float().mean()
    if 0.0 < opaque < 1.0:
        half[3] += 0.5 - torch.quantile(half[3].flatten(), 1.0 - opaque)
    return half.clamp(0, 1)


@lru_cache(maxsize=4)
def texture_library(device: str = "cpu") -> Tensor:
    """All textures with all levels, as D * TEXELS int32: B, C, brightness, opacity in one byte each, lowest first."""
    if device != "cpu":
        return texture_library("cpu").to(device)
    packed = []
    for painter, count in RECIPES.items():
        for variant in range(count):
            canvas = Canvas(np.random.default_rng([variant, *painter.__name__.encode()]))
            painter(canvas)
            image = torch.from_numpy(canvas.level()).float() / 255  # 4 S S
            for level in range(LEVELS):
                if level:
                    image = shrink(image)
                bytes_ = (image * 255).round().to(torch.int32)
                bytes_ = bytes_[0] | bytes_[1] << 8 | bytes_[2] << 16 | bytes_[3] << 24
                packed.append(bytes_.flatten())
    return torch.cat(packed)
