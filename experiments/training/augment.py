"""Variety for pictures from files: crops, flips and colours, all chosen by a generator that the caller seeds.

Shapes: H0 W0 the picture, h0 w0 its depth (the two may differ), H W what the network gets, B pictures.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue look
ASPECT_JITTER = 0.1  # a crop may be stretched by a factor up to exp of this


def random_crop(
    image: np.ndarray,
    depth: np.ndarray,
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """A random part of a picture and of its depth, both at size_hw.

    image: H0 x W0 x 3 uint8; depth: h0 x w0. scale: the part's area as a share of the largest part with the wanted
    aspect ratio, smallest and largest; (1, 1) changes neither apparent size nor aspect ratio, which metric models learn
    from. The picture is resized; depth is taken from the nearest pixel, so that unknown pixels stay unknown and edges
    stay edges.
    """
    height, width = image.shape[:2]
    aspect = size_hw[1] / size_hw[0]
    if scale != (1, 1):
        aspect *= np.exp(rng.uniform(-ASPECT_JITTER, ASPECT_JITTER))
    share = rng.uniform(*scale) ** 0.5
    rows = max(round(share * min(height, width / aspect)), 1)
    columns = max(round(share * min(width, height * aspect)), 1)
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    part = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    shrinks = rows > size_hw[0]
    resized = cv2.resize(part, size_hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)

    ys = (top + (np.arange(size_hw[0]) + 0.5) * rows / size_hw[0]) / height  # between 0 and 1, of the pixels' centres
    xs = (left + (np.arange(size_hw[1]) + 0.5) * columns / size_hw[1]) / width
    nearest = np.ix_((ys * depth.shape[0]).astype(int), (xs * depth.shape[1]).astype(int))
    return resized, depth[nearest]


def random_flip(image: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both maps mirrored left to right, or, as often, not."""
    if rng.random() < 0.5:
        return image[:, ::-1], depth[:, ::-1]
    return image, depth


def random_colours(images: Tensor, rngs: Sequence[np.random.Generator], strength: float) -> Tensor:
    """Other light and another camera: gains of the channels, gamma, contrast, saturation, sometimes grey.

    images: B x 3 x H x W RGB between 0 and 1, and so is the result; one generator for each. strength: 0 changes
    nothing, 1 is as much as photographs of one place differ.
    """
    if not strength:
        return images
    draws = torch.tensor(np.stack([rng.uniform(-1, 1, 7) for rng in rngs]), dtype=images.dtype, device=images.device)
    draws = draws[:, :, None, None]  # B 7 -> B 7 1 1
    gains = torch.exp(strength * (0.3 * draws[:, :1] + 0.1 * draws[:, 1:4]))  # brightness, and a tint
    images = (images * gains).clamp(0, 1) ** torch.exp(0.2 * strength * draws[:, 4:5])
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * torch.exp(0.3 * strength * draws[:, 5:6])
    grey = (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)  # B 3 H W -> B 1 H W
    last = draws[:, 6:]
    saturation = torch.where(last < 0.2 * strength - 1, 0.0, 1 + 0.5 * strength * last)  # one in ten is grey
    return (grey + (images - grey) * saturation).clamp(0, 1)
