"""Depth of large pictures in more detail: overlapping tiles, each as large for the network as the whole picture was.

A network sees a picture at some 500 pixels, however large it is. Cut into tiles, it sees more detail, but each tile comes
out with a scale and a shift of its own, because nothing in it says how far away the whole scene is. So the whole picture is
predicted first, every tile is aligned to that *global* map, and tiles that overlap fade into each other:

    global map G    tile map T                         result
    whole, coarse   detailed, scale and shift unknown  mean of s T + t over the tiles of a pixel, by their weights

Shapes: H0 W0 the picture, H W the network's input, h w a tile in the picture's pixels.
"""

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .dpt_model import DPTModel
from .errors import PictureError
from .image_processor import DPTImageProcessor
from .predict import DepthMap, predict_depth

OVERLAP = 0.4  # share of a tile's side that it has in common with the next tile
MOST_TILES = 16  # along a side
MOST_CHOSEN_TILES = 4  # the same without being asked for: beyond, a tile soon shows too little of the scene to be understood
FITTED_SIDE = 48  # both maps are compared at this size, because the global map has no more detail
FIT_ROUNDS = 3  # of least squares, each with less weight on what did not fit in the one before
GOOD_FIT = 0.05  # of the standard deviation: a misfit below this lowers no weight, lest a clear sky alone decide
LEAST_CORRELATION = 0.7  # a tile that agrees less with the global map (a bare wall, the sky) has nothing to add to it


def predict_depth_tiled(
    dpt_model: DPTModel,
    dpt_imgproc: DPTImageProcessor,
    image_bgr: np.ndarray,
    *,
    num_tiles: int | None = None,
    max_side_length: int | None = None,
    use_square_sizing: bool = False,
) -> DepthMap:
    """Like `predict_depth`, from num_tiles x num_tiles overlapping tiles and the whole picture.

    num_tiles: 1 means no tiles; None as many as it takes to show the network every pixel, but at most MOST_CHOSEN_TILES.
    Sizing options are those of `prepare_image_bgr`, for each tile and for the whole picture. Raises PictureError for arrays
    that are not pictures, and for more tiles than the picture can be cut into.
    """
    sizing = {"max_side_length": max_side_length, "use_square_sizing": use_square_sizing}
    whole = predict_depth(dpt_model, dpt_imgproc, image_bgr, **sizing)
    image_hw = image_bgr.shape[:2]
    if num_tiles is None:
        num_tiles = count_tiles(image_hw, dpt_imgproc.network_size(*image_hw, **sizing))
    check_tiles(num_tiles, image_hw)
    if num_tiles == 1:
        return whole
    global_map = torch.from_numpy(whole.depth)  # H0 W0
    total, weights = torch.zeros_like(global_map), torch.zeros_like(global_map)
    for rows in cut(image_hw[0], num_tiles):
        for columns in cut(image_hw[1], num_tiles):
            tile = predict_depth(dpt_model, dpt_imgproc, image_bgr[rows, columns], **sizing)
            aligned = align_tile(torch.from_numpy(tile.depth), global_map[rows, columns])  # h w
            weight = fade_in(rows, image_hw[0])[:, None] * fade_in(columns, image_hw[1])[None, :]  # h w
            total[rows, columns] += weight * aligned
            weights[rows, columns] += weight
    depth = (total / weights).clamp(*whole.value_range)
    return replace(whole, depth=depth.numpy())


def count_tiles(image_hw: tuple[int, int], network_hw: tuple[int, int]) -> int:
    """How many tiles along each side show the network every pixel, because none is larger than its input; not too many.

    >>> count_tiles((480, 640), (518, 686)), count_tiles((1080, 1920), (518, 924))
    (1, 3)
    """
    needed = [(side / seen - OVERLAP) / (1 - OVERLAP) for side, seen in zip(image_hw, network_hw, strict=True)]
    return min(max(math.ceil(max(needed)), 1), MOST_CHOSEN_TILES)


def check_tiles(num_tiles: int, image_hw: tuple[int, int]) -> None:
    """Raises PictureError unless a picture of this size can be cut into so many tiles along each side."""
    if not 1 <= num_tiles <= MOST_TILES or min(image_hw) < 4 * num_tiles:
        height, width = image_hw
        raise PictureError(
            f"a picture of {width} x {height} pixels cannot be cut into {num_tiles} x {num_tiles} tiles: "
            f"expected 1 to {MOST_TILES} along a side, each of some pixels"
        )


def cut(side: int, num_tiles: int) -> list[slice]:
    """Equally long pieces of a side, evenly spaced, that overlap by OVERLAP or a pixel more.

    >>> [(piece.start, piece.stop) for piece in cut(100, 3)]
    [(0, 46), (27, 73), (54, 100)]
    """
    length = math.ceil(side / (1 + (num_tiles - 1) * (1 - OVERLAP)))
    starts = np.linspace(0, side - length, num_tiles).round().astype(int).tolist()
    return [slice(start, start + length) for start in starts]


def fade_in(piece: slice, side: int) -> Tensor:
    """The weight of each pixel of a piece: 1 in its middle, falling to almost 0 where another piece takes over.

    Half a period of a cosine, whose slope is 0 at both ends: neither a step nor a bend is left in the map.
    """
    length = piece.stop - piece.start
    ramp_length = OVERLAP * length
    distance = torch.arange(length) + 0.5  # from the border
    ramp = 0.5 - 0.5 * torch.cos(math.pi * (distance / ramp_length).clamp(max=1))
    weight = torch.ones(length)
    if piece.start > 0:
        weight = weight * ramp
    if piece.stop < side:
        weight = weight * ramp.flip(0)
    return weight


def align_tile(tile: Tensor, global_map: Tensor) -> Tensor:
    """A tile's map with the scale and shift that bring it closest to the global map, both h x w.

    Where the two have too little in common for that, the global map itself.
    """
    values, targets = shrink(tile), shrink(global_map)
    if not correlation(values, targets) > LEAST_CORRELATION:
        return global_map
    scale, shift = fit_tile(values, targets)
    return scale * tile + shift if scale > 0 else global_map


def shrink(depth: Tensor) -> Tensor:
    """A small version of a map, h x w, by averaging: at most FITTED_SIDE x FITTED_SIDE, float64."""
    size = [min(side, FITTED_SIDE) for side in depth.shape]
    return F.adaptive_avg_pool2d(depth[None].double(), size)[0]


def correlation(values: Tensor, targets: Tensor) -> float:
    """Pearson's correlation of two maps; NaN where one of them is constant."""
    values, targets = values - values.mean(), targets - targets.mean()
    return float((values * targets).sum() / (values.norm() * targets.norm()))


def fit_tile(values: Tensor, targets: Tensor) -> tuple[float, float]:
    """Scale and shift that bring values nearest to targets in least squares, outliers apart.

    Reweighted rounds (Cauchy's weights) let the parts decide in which the two maps agree: near things that only the tile
    shows well would pull a plain fit.
    """
    weights = torch.ones_like(values)
    for _ in range(FIT_ROUNDS):
        weights = weights / weights.sum()
        mean, target_mean = (weights * values).sum(), (weights * targets).sum()
        centred = values - mean
        scale = (weights * centred * (targets - target_mean)).sum() / (weights * centred.square()).sum()
        shift = target_mean - scale * mean
        misfit = (scale * values + shift - targets).abs()
        typical = misfit.median().clamp(min=GOOD_FIT * targets.std())
        weights = 1 / (1 + (misfit / (2 * typical)).square())
    return float(scale), float(shift)
