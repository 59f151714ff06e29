"""Cameras of a batch, and the rays of their pixels; a light that casts shadows is a camera too.

Letters: B scenes, K solids of all scenes, u v pixel coordinates (the centre of the first pixel is 0.5, 0.5).
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .builder import Camera, Light

SHADOW_SIDE = 192  # pixels of a shadow map
LAMP_VIEW = 3.0  # tangent of half the angle that a lamp's shadow map covers


@dataclass
class Cameras:
    """Pinhole cameras. x and y focal lengths and centre in pixels: B each; rotation: B x 3 x 3 and position: B x 3
    take a point of the camera (x right, y down, z forward) to the world (z up): world = rotation @ point + position."""

    fx: Tensor
    fy: Tensor
    cx: Tensor
    cy: Tensor
    rotation: Tensor
    position: Tensor

    def unproject(self, depth: Tensor) -> Tensor:
        """World coordinates of every pixel at a z-depth in metres. B H W -> B H W 3"""
        height, width = depth.shape[-2:]
        u, v = pixel_centres(height, width, depth.device)
        x = (u - self.cx[:, None, None]) / self.fx[:, None, None]
        y = (v - self.cy[:, None, None]) / self.fy[:, None, None]
        x, y, z = (x * depth)[..., None], (y * depth)[..., None], depth[..., None]
        right, down, forward = (axis[:, None, None] for axis in self.rotation.unbind(-1))
        return x * right + y * down + z * forward + self.position[:, None, None]

    def to(self, device) -> "Cameras":
        return Cameras(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})


def pixel_centres(height: int, width: int, device) -> tuple[Tensor, Tensor]:
    """u as 1 x W and v as H x 1."""
    return torch.arange(width, device=device) + 0.5, (torch.arange(height, device=device) + 0.5)[:, None]


def make_cameras(cameras: list[Camera], height: int, width: int) -> Cameras:
    """The batch of cameras that fill pictures of one size, on the CPU."""
    rotations, focals = [], []
    for camera in cameras:
        cy, sy, cp, sp = math.cos(camera.yaw), math.sin(camera.yaw), math.cos(camera.pitch), math.sin(camera.pitch)
        cr, sr = math.cos(camera.roll), math.sin(camera.roll)
        forward = (-sy * cp, cy * cp, sp)
        right, down = (cy, sy, 0.0), (-sy * sp, cy * sp, -cp)
        rolled = (
            [r * cr + d * sr for r, d in zip(right, down, strict=True)],
            [d * cr - r * sr for r, d in zip(right, down, strict=True)],
        )
        rotations.append([[rolled[0][i], rolled[1][i], forward[i]] for i in range(3)])
        focals.append(0.5 * math.hypot(height, width) / math.tan(0.5 * camera.diagonal_view))
    focal = torch.tensor(focals)
    centre = torch.ones_like(focal)
    position = torch.tensor([camera.position for camera in cameras])
    return Cameras(focal, focal, centre * width / 2, centre * height / 2, torch.tensor(rotations), position)


@dataclass
class Rays:
    """The ray of pixel u, v is origin + t * direction, both linear in u and v: columns constant, per u, per v (B x 3
    x 3).

    A perspective view (camera, lamp) has one origin and t is the distance along its axis; a sun has one direction.
    right, down, forward: B x 3; focal: pixels per tangent, or pixels per metre for a sun (B); centre: B x 2 pixels.
    """

    origin: Tensor
    direction: Tensor
    perspective: bool
    position: Tensor
    axes: tuple[Tensor, Tensor, Tensor]
    focal: Tensor
    centre: Tensor

    def project(self, points: Tensor, scene: Tensor) -> Tensor:
        """World points, each in the view of its scene, to u, v, t (a point behind a perspective view has t <= 0). K .
        3 -> K . 3"""
        shape = (len(scene),) + (1,) * (points.dim() - 2)
        relative = points - self.position[scene].view(*shape, 3)
        x, y, t = ((relative * axis[scene].view(*shape, 3)).sum(-1) for axis in self.axes)
        scale = self.focal[scene].view(shape)
        if self.perspective:
            scale = scale / t
        centre = self.centre[scene].view(*shape, 2)
        return torch.stack([x * scale + centre[..., 0], y * scale + centre[..., 1], t], -1)


def perspective_rays(position: Tensor, axes: tuple[Tensor, Tensor, Tensor], focal: Tensor, centre: Tensor) -> Rays:
    per_u, per_v = axes[0] / focal[:, None], axes[1] / focal[:, None]
    constant = axes[2] - per_u * centre[:, :1] - per_v * centre[:, 1:]
    direction = torch.stack([constant, per_u, per_v], -1)
    zero = torch.zeros_like(position)
    return Rays(torch.stack([position, zero, zero], -1), direction, True, position, axes, focal, centre)


def camera_rays(cameras: Cameras) -> Rays:
    """The rays of pictures; t is the z-depth."""
    centre = torch.stack([cameras.cx, cameras.cy], -1)
    return perspective_rays(cameras.position, cameras.rotation.unbind(-1), cameras.fx, centre)


def lamp_rays(lights: list[Light]) -> Rays:
    """Shadow maps of lamps, looking straight down."""
    position = torch.tensor([light.position for light in lights])
    axes = [torch.tensor(axis).expand_as(position) for axis in ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))]
    half = torch.full((len(lights),), SHADOW_SIDE / 2)
    return perspective_rays(position, tuple(axes), half / LAMP_VIEW, half[:, None].expand(-1, 2))


def sun_rays(lights: list[Light]) -> Rays:
    """Shadow maps of suns: squares of parallel rays, starting 40 m from the middle."""
    towards = torch.tensor([light.direction for light in lights])
    radius = torch.tensor([light.radius for light in lights])
    forward = -towards
    level = torch.where(forward[:, 2].abs() < 0.99, 1.0, 0.0)  # whether the sun is not straight above
    right = torch.stack(
        [-forward[:, 1] * level + (1.0 - level), forward[:, 0] * level, -forward[:, 0] * (1.0 - level)], -1
    )
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    position = torch.tensor([light.centre for light in lights]) + towards * 40.0
    scale, half = SHADOW_SIDE / 2 / radius, torch.full_like(radius, SHADOW_SIDE / 2)
    per_u, per_v = right / scale[:, None], down / scale[:, None]
    origin = torch.stack([position - (per_u + per_v) * half[:, None], per_u, per_v], -1)
    zero = torch.zeros_like(forward)
    direction = torch.stack([forward, zero, zero], -1)
    return Rays(origin, direction, False, position, (right, down, forward), scale, half[:, None].expand(-1, 2))
