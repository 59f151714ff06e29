"""What can be seen of a scene in its own picture: how open a point is, and what it mirrors. Both at half the
picture's size.

Letters: B scenes, H W picture, h w half of it.
"""

import math

import torch
from torch import Tensor

from .camera import Cameras
from .surface import Surface, Triple, dot, wide

CONTACT_TAPS = 12
MIRROR_STEPS = 12
FARTHEST = 1e4  # metres: where the sky is


class HalfView:
    """Every second pixel: its point in camera coordinates (x, y, z: B h w each), and those seen at other places."""

    def __init__(self, depth: Tensor, cameras: Cameras):
        small = depth[:, ::2, ::2]
        self.batch, self.height, self.width = small.shape
        self.axes = [wide(axis) for axis in cameras.rotation.unbind(-1)]
        self.u = torch.arange(self.width, device=depth.device)[None, None, :]
        self.v = torch.arange(self.height, device=depth.device)[None, :, None]
        self.focal = wide(0.5 * cameras.fx)
        self.middle_u, self.middle_v = wide(0.5 * cameras.cx - 0.25), wide(0.5 * cameras.cy - 0.25)
        self.first = (torch.arange(self.batch, device=depth.device) * self.height * self.width)[:, None, None]
        self.z = small.clamp(max=FARTHEST).contiguous()
        self.point = self.unproject(self.u, self.v, self.z)

    def unproject(self, u: Tensor, v: Tensor, z: Tensor) -> Triple:
        return (u - self.middle_u) / self.focal * z, (v - self.middle_v) / self.focal * z, z

    def turn(self, vector: Triple) -> Triple:
        """World directions to camera coordinates."""
        return tuple(dot(vector, axis) for axis in self.axes)

    def index(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Column, row and flat number of the nearest pixel within the picture."""
        column = (u + 0.5).clamp(0, self.width - 1).long()
        row = (v + 0.5).clamp(0, self.height - 1).long()
        return column, row, self.first + row * self.width + column

    def seen_at(self, u: Tensor, v: Tensor) -> Triple:
        column, row, number = self.index(u, v)
        return self.unproject(column, row, self.z.take(number))


def enlarge(small: Tensor, depth: Tensor) -> Tensor:
    """B C h w -> B C H W, smoothly."""
    return torch.nn.functional.interpolate(small, size=depth.shape[1:], mode="bilinear", align_corners=False)


def contact_shading(depth: Tensor, surface: Surface, cameras: Cameras, radius: Tensor) -> Tensor:
    """How open every point is to light from all sides, judged from the depth around it in the picture; 0..1. B H W

    The points around are compared at half the picture's size; infinity in depth blocks nothing.
    """
    view = HalfView(depth, cameras)
    normal = view.turn(tuple(n[:, ::2, ::2] for n in surface.normal))
    z = view.z
    reach = wide(radius)
    pixels = (reach * view.focal / z).clamp(min=2.0, max=0.2 * view.height)
    reach = pixels * z / view.focal
    blocked = torch.zeros_like(z)
    for tap in range(CONTACT_TAPS):
        angle, part = tap * 2.39996, ((tap + 0.5) / CONTACT_TAPS) ** 0.75
        other = view.seen_at(view.u + (math.cos(angle) * part) * pixels, view.v + (math.sin(angle) * part) * pixels)
        delta = tuple(q - p for q, p in zip(other, view.point, strict=True))
        square = dot(delta, delta)
        rise = dot(delta, normal) * (square + 1e-8).rsqrt() - 0.12
        blocked += rise.clamp(min=0.0) * (1.0 - square / (reach * reach * 2.0)).clamp(min=0.0)
    open_ = (1.0 - 2.2 / CONTACT_TAPS * blocked).clamp(0.1, 1.0)
    smooth = torch.nn.functional.avg_pool2d(open_[:, None], 3, 1, 1, count_include_pad=False)
    return enlarge(smooth, depth)[:, 0]


def mirrored(light: Tensor, depth: Tensor, surface: Surface, cameras: Cameras, bounce: Triple) -> tuple[Tensor, Tensor]:
    """Follow the mirrored rays through the picture: what they meet there (B 3 H W), and where they meet anything (B H
    W, 0..1).

    light: B x 3 x H x W; bounce: directions of the mirrored rays in the world.
    """
    view = HalfView(depth, cameras)
    direction = view.turn(tuple(b[:, ::2, ::2] for b in bounce))
    x, y, z = view.point
    found = torch.full_like(z, -1, dtype=torch.long)
    for step in range(MIRROR_STEPS):
        distance = (0.05 * 1.5**step) * z.clamp(max=50.0)
        px, py, pz = x + distance * direction[0], y + distance * direction[1], z + distance * direction[2]
        u = px / pz.clamp(min=0.01) * view.focal + view.middle_u
        v = py / pz.clamp(min=0.01) * view.focal + view.middle_v
        inside = (pz > 0.05) & (u > 0) & (u < view.width - 1) & (v > 0) & (v < view.height - 1)
        number = view.index(u, v)[2]
        behind = pz - view.z.take(number)
        hit = inside & (behind > 0) & (behind < 0.5 * distance + 0.02 * z) & (found < 0)
        found = torch.where(hit, number, found)
    small = light[:, :, ::2, ::2].transpose(0, 1).reshape(3, -1)
    colour = small[:, found.clamp(min=0)].transpose(0, 1)  # 3 B h w -> B 3 h w
    met = (found >= 0).to(light.dtype)[:, None]
    return enlarge(colour * met, depth), enlarge(met, depth)[:, 0]
