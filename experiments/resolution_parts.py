"""A picture through the network at different sizes, aspect ratios and tilings, and the maps beside each other.

`experiments/resolution_parts.py` serves resolution_study.py. Shapes: H W the network's input, H0 W0 the picture.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from experiments.agreement import align_to, as_inverse
from experiments.inspection_drawing import tile_sheet
from lib.demo.colour import Look, as_8bit, paint_depth
from lib.demo.model import LoadedModel
from lib.demo.script import out_of_memory_message
from lib.errors import PictureError
from lib.predict import DepthMap

FACTORS = (0.5, 0.75, 1.5, 2.0)  # of the release's own size
OWN = "own size"
DETAIL_SHARE = 0.3  # of each side of the picture


@dataclass(frozen=True)
class Setting:
    """side: longer side of the network's input, None for the release's own size. stretch: the picture is made wider by this
    factor first. tiles: along each side, None for none."""

    name: str
    side: int | None = None
    stretch: float = 1.0
    tiles: int | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """A setting's map at the picture's size, the network's input of each prediction (H, W), and how long it took."""

    setting: Setting
    depth_map: DepthMap
    network_hw: tuple[int, int]
    seconds: float


def choose_settings(model: LoadedModel, image_hw: tuple[int, int], args: argparse.Namespace) -> list[Setting]:
    """The release's own size first; then the other sizes, aspect ratios and tilings, each network size once."""
    own_hw = model.network_size(*image_hw)
    settings, seen = [Setting(OWN)], {own_hw}
    rule = model.dpt_imgproc.rule
    if rule.fit != "fixed":
        own = max(own_hw)
        sizes = [(f"{side} px", side) for side in args.sizes or ()]
        if args.sizes is None:
            sizes = [(f"x {factor:g}", max(round(factor * own), rule.multiple)) for factor in FACTORS]
        for name, side in sizes:
            network_hw = model.network_size(*image_hw, side)
            if network_hw not in seen:
                seen.add(network_hw)
                settings.append(Setting(name, side))
        if not model.use_square_sizing and rule.fit != "stretch":  # which would undo it
            for stretch in args.stretches:
                longer = max(own_hw[0] / math.sqrt(stretch), own_hw[1] * math.sqrt(stretch))
                settings.append(Setting(f"stretched {stretch:g}", max(round(longer), rule.multiple), stretch))
    return settings + [Setting(f"{tiles} x {tiles} tiles", tiles=tiles) for tiles in args.tiles if tiles > 1]


def stretched(image_bgr: np.ndarray, stretch: float) -> np.ndarray:
    """The picture wider by this factor, with as many pixels."""
    if stretch == 1:
        return image_bgr
    height, width = image_bgr.shape[:2]
    size = max(round(width * math.sqrt(stretch)), 1), max(round(height / math.sqrt(stretch)), 1)
    return cv2.resize(image_bgr, size, interpolation=cv2.INTER_LINEAR)


def run_setting(model: LoadedModel, image_bgr: np.ndarray, setting: Setting, *, repeats: int = 1) -> Run:
    """The map of a picture at this setting. repeats: timed predictions after a first one; 0 to time that."""
    model = replace(model, tiles=setting.tiles)
    picture = stretched(image_bgr, setting.stretch)
    network_hw = model.network_size(*picture.shape[:2], setting.side)
    seconds = []
    for _ in range(1 + repeats):  # the first one fills the caches
        start = time.perf_counter()
        depth_map = model.predict([picture], setting.side)[0]
        seconds.append(time.perf_counter() - start)
    if setting.stretch != 1:
        size = image_bgr.shape[1::-1]
        depth_map = replace(depth_map, depth=cv2.resize(depth_map.depth, size, interpolation=cv2.INTER_LINEAR))
    return Run(setting, depth_map, network_hw, statistics.median(seconds[1:] or seconds))


def run_settings(model: LoadedModel, image_bgr: np.ndarray, settings: Sequence[Setting], *, repeats: int) -> list[Run]:
    """All that can be run: what is too large for the memory or the model is reported and left out, but not the first."""
    runs = []
    for setting in settings:
        try:
            runs.append(run_setting(model, image_bgr, setting, repeats=repeats))
        except Exception as error:
            if setting is settings[0]:
                raise
            reason = str(error) if isinstance(error, PictureError) else out_of_memory_message(error)
            print(f"Left out: {setting.name}: {reason}", file=sys.stderr)
    return runs


def aligned_maps(runs: Sequence[Run]) -> list[np.ndarray]:
    """The maps as inverse depth with the scale and shift of the first one, so that equal colours mean equal depth."""
    maps = [as_inverse(run.depth_map) for run in runs]
    return [maps[0], *(align_to(each, maps[0]) for each in maps[1:])]


def paint_alike(maps: Sequence[np.ndarray], colour_map: str) -> list[np.ndarray]:
    """Maps in the colours that fit the first one."""
    first, palette = paint_depth(maps[0], Look(colour_map=colour_map), nearest_is_largest=True)
    return [first, *(palette.paint(each) for each in maps[1:])]


def maps_sheet(
    image_bgr: np.ndarray, runs: Sequence[Run], measured: Sequence[dict], colour_map: str, *, heading: str
) -> np.ndarray:
    """The picture and the map of each setting with its numbers."""
    tiles = [as_8bit(image_bgr), *paint_alike(aligned_maps(runs), colour_map)]
    titles = [
        f"{title(run)}: edges {row['edge_width']:.1f} px, error {100 * row['aligned_error']:.1f}%"
        for run, row in zip(runs, measured, strict=True)
    ]
    return tile_sheet(tiles, ["picture", *titles], heading=heading, tile_width=360)


def detail_sheet(image_bgr: np.ndarray, runs: Sequence[Run], colour_map: str, *, heading: str) -> np.ndarray:
    """The part of the picture with most detail, and the same part of each map in colours of its own."""
    part = busiest_part(image_bgr)
    painted = [paint_alike([as_inverse(run.depth_map)[part]], colour_map)[0] for run in runs]
    tiles = [as_8bit(image_bgr)[part], *painted]
    return tile_sheet(tiles, ["picture", *map(title, runs)], heading=heading, tile_width=360)


def title(run: Run) -> str:
    """What was run."""
    return f"{run.setting.name}: {run.network_hw[1]} x {run.network_hw[0]}"


def busiest_part(image_bgr: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the part, DETAIL_SHARE of each side, with the most edges in it."""
    grey = cv2.cvtColor(as_8bit(image_bgr), cv2.COLOR_BGR2GRAY)
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F)).clip(0, 60)  # a few hard edges do not count more than many soft ones
    size = [max(round(DETAIL_SHARE * side), 1) for side in grey.shape]
    sums = cv2.boxFilter(edges, -1, (size[1], size[0]), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    inside = sums[: grey.shape[0] - size[0] + 1, : grey.shape[1] - size[1] + 1]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return slice(int(top), int(top) + size[0]), slice(int(left), int(left) + size[1])
