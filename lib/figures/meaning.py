"""Plots of what the numbers of a depth map mean, from a rendered scene whose depth is known exactly.

Shapes: H W the picture, N its pixels.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from lib.dpt_model import DPTModel
from lib.figures.drawing import depth_colours, label, new_figure, show_picture
from lib.image_processor import DPTImageProcessor
from lib.predict import predict_depth

SEED, KINDS = 21, ["room", "hall", "corridor"]  # a corner of a room, seen from eye height
HEIGHT, WIDTH = 360, 480
FARTHEST = 12.0  # metres: the clamp
KNOWN_SHARES = (0.06, 0.75)  # which pixels serve as known distances, by their order in depth
HEIGHTS = (0.5, 1.9)  # metres above the floor: what a floor plan shows
BLUE, ORANGE, GREEN = "#31577f", "#c2571a", "#3a7d44"


@dataclass(frozen=True)
class Room:
    """A rendered room. image_rgb: H x W x 3 uint8; metres: exact z-depth, H x W; in_plan: which pixels a plan shows.

    right, ahead: a point at depth d is d * right beside the camera and d * ahead in front of it, on the floor plan (H x W
    each).
    """

    image_rgb: np.ndarray
    metres: np.ndarray
    in_plan: np.ndarray
    right: np.ndarray
    ahead: np.ndarray


def render_room() -> Room:
    """The scene of the plots."""
    from experiments.procedural_scenes import make_clean_scene
    from experiments.scenes.render import render

    with torch.no_grad():
        batch = render([make_clean_scene(argparse.Namespace(seed=SEED, kinds=KINDS))], HEIGHT, WIDTH, supersample=3)
    points = (
        batch.cameras.unproject(torch.ones_like(batch.depth))[0] - batch.cameras.position[0]
    )  # H W 3, at one metre of depth
    metres = batch.depth[0].numpy()
    forward = batch.cameras.rotation[0, :2, 2]
    forward = forward / forward.norm()
    ahead = (points[..., :2] @ forward).numpy()
    right = (points[..., 0] * forward[1] - points[..., 1] * forward[0]).numpy()
    with np.errstate(invalid="ignore"):
        above_floor = points[..., 2].numpy() * metres + float(batch.cameras.position[0, 2])
        in_plan = np.isfinite(metres) & (metres < FARTHEST) & (above_floor > HEIGHTS[0]) & (above_floor < HEIGHTS[1])
    image_rgb = (batch.images_rgb[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return Room(image_rgb, metres, in_plan, right, ahead)


def fit_line(values: np.ndarray, inverse_metres: np.ndarray) -> tuple[float, float]:
    """The scale and shift with which scale * values + shift comes nearest to 1 / metres (least squares)."""
    columns = np.stack([values, np.ones_like(values)], axis=1)
    (scale, shift), *_ = np.linalg.lstsq(columns, inverse_metres, rcond=None)
    return float(scale), float(shift)


def to_metres(values: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """Relative inverse depth -> metres, clamped at FARTHEST."""
    return 1 / np.maximum(scale * values + shift, 1 / FARTHEST)


def draw_alignment(room: Room, values: np.ndarray):
    """Prediction against truth: before alignment, after, and with the shift left out. values: the prediction, H x W."""
    known = np.isfinite(room.metres) & (room.metres < FARTHEST)
    v, metres = values[known].astype(np.float64), room.metres[known].astype(np.float64)
    thin = np.random.default_rng(0).permutation(v.size)[:3000]
    scale, shift = fit_line(v, 1 / metres)
    only_scale = float((v / metres).sum() / (v * v).sum())
    order = np.argsort(metres)
    two = [nearest_to_line(v, metres, order, share, scale, shift) for share in KNOWN_SHARES]
    slope = (1 / metres[two[0]] - 1 / metres[two[1]]) / (v[two[0]] - v[two[1]])
    offset = 1 / metres[two[0]] - slope * v[two[0]]

    figure, axes = new_figure(9, 3, columns=3)
    dots = {"s": 2, "alpha": 0.25, "linewidths": 0, "color": BLUE}
    ends = np.array([min(0, v.min()), v.max()])
    axes[0, 0].scatter(v[thin], 1 / metres[thin], **dots)
    axes[0, 0].plot(ends, scale * ends + shift, color=ORANGE, label="best line of all pixels")
    axes[0, 0].plot(ends, slope * ends + offset, "--", color=GREEN, label="line through two known")
    axes[0, 0].plot(v[two], 1 / metres[two], "o", color=GREEN, markersize=6)
    axes[0, 0].legend(fontsize=7)
    label(axes[0, 0], "before: a line, but which?\n", "prediction (no unit)", "1 / true metres")
    farthest = float(metres.max()) * 1.05
    for axis, depth, title in (
        (axes[0, 1], to_metres(v, scale, shift), "after: scale and shift"),
        (axes[0, 2], to_metres(v, only_scale, 0.0), "scale alone: bent"),
    ):
        axis.scatter(metres[thin], depth[thin], **dots)
        axis.plot([0, farthest], [0, farthest], color=ORANGE, linewidth=1)
        axis.set_xlim(0, farthest)
        axis.set_ylim(0, FARTHEST)
        good = np.maximum(depth / metres, metres / depth) < 1.25
        label(axis, f"{title}\n{100 * good.mean():.0f} % within 25 %", "true metres", "metres from the prediction")
    return figure


def nearest_to_line(v: np.ndarray, metres: np.ndarray, order: np.ndarray, share: float, scale: float, shift: float) -> int:
    """A pixel at this place in the order of depth whose prediction is good: one would measure there, not at an edge."""
    first = int(share * len(order))
    some = order[first : first + len(order) // 50]
    return int(some[np.argmin(np.abs(scale * v[some] + shift - 1 / metres[some]))])


def draw_floor_plans(room: Room, values: np.ndarray):
    """The room from above, from a perfect relative map and from the model's, with the right and with wrong shifts."""
    known = np.isfinite(room.metres) & (room.metres < FARTHEST)
    perfect = np.where(known, 1 / np.where(known, room.metres, 1), 0)
    perfect = (perfect - perfect[known].min()) / np.ptp(perfect[known])  # what relative means: scale and shift are lost
    figure, axes = new_figure(9, 5.2, rows=2, columns=4)
    show_picture(axes[0, 0], room.image_rgb, "the room")
    show_picture(axes[1, 0], depth_colours(values), "the model's inverse depth")
    for row, (name, relative) in enumerate((("perfect map", perfect), ("model", values))):
        scale, shift = fit_line(relative[known].astype(np.float64), 1 / room.metres[known].astype(np.float64))
        near = float(np.quantile(scale * relative[known] + shift, 0.98))  # 1 / metres that every choice agrees on
        for column, (title, wrong) in enumerate(
            (("right shift", shift), ("no shift", 0.0), ("shift too large", shift + 0.4 * (near - shift))), start=1
        ):
            refit = (near - wrong) / (near - shift) * scale
            metres = to_metres(relative, refit, wrong)
            plan(axes[row, column], room, metres, f"{name}: {title}")
    return figure


def plan(axis, room: Room, metres: np.ndarray, title: str, *, stretch: float = 1.0, colour: str = BLUE) -> None:
    """The pixels of a floor plan from above, the camera at 0, 0. stretch: of what lies beside the camera (field of view)."""
    chosen = room.in_plan.copy()
    chosen[1::2] = False
    chosen[:, 1::2] = False
    across, along = stretch * (room.right * metres)[chosen], (room.ahead * metres)[chosen]
    axis.plot(across, along, ".", markersize=1, color=colour)
    axis.plot(0, 0, "^", color=ORANGE)
    axis.set_xlim(-5.5, 5.5)
    axis.set_ylim(-0.6, FARTHEST + 0.4)
    axis.set_aspect("equal")
    axis.set_title(title, fontsize=9)


def draw_field_of_view(room: Room):
    """The same exact depth, unprojected with three fields of view."""
    figure, axes = new_figure(9, 2.3, columns=3)
    half = float(room.right[HEIGHT // 2, -1] / room.ahead[HEIGHT // 2, -1])  # tangent of half the horizontal angle
    true_degrees = 2 * np.degrees(np.arctan(half))
    for axis, degrees in zip(axes[0], (true_degrees / 2, true_degrees, min(1.6 * true_degrees, 130)), strict=True):
        stretch = float(np.tan(np.radians(degrees / 2)) / half)
        note = " (the camera's)" if degrees == true_degrees else ""
        plan(axis, room, room.metres, f"{degrees:.0f}° across{note}", stretch=stretch)
        axis.set_xlim(-6, 6)
        axis.set_ylim(-0.6, 6.5)
        axis.set_xlabel("metres", fontsize=8)
    return figure


def predict_room(dpt_model: DPTModel, dpt_imgproc: DPTImageProcessor, room: Room) -> np.ndarray:
    """The model's relative inverse depth of the room, H x W."""
    return predict_depth(dpt_model, dpt_imgproc, np.ascontiguousarray(room.image_rgb[..., ::-1])).depth
