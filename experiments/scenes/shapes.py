"""Where rays meet the solids, each in its own coordinates, where it fills the cube -1..1.

All functions take the ray's origin and direction as tuples (x, y, z) of P x Q tensors (or P x 1, where all rays of a
row share them) and return the smallest ray parameter t > near at which the ray enters, infinity where it misses. P
pairs, Q pixels.
"""

import torch
from torch import Tensor

from .canvas import SIDE
from .textures import TEXELS, level_start

Triple = tuple[Tensor, Tensor, Tensor]
INFINITY = float("inf")


def hit_box(origin: Triple, direction: Triple, near: float) -> Tensor:
    enter = leave = None
    for o, d in zip(origin, direction, strict=True):
        inverse = d.reciprocal().clamp(-1e12, 1e12)  # finite for rays along a face
        middle, half = -o * inverse, inverse.abs()
        low, high = middle - half, middle + half
        enter = low if enter is None else torch.maximum(enter, low)
        leave = high if leave is None else torch.minimum(leave, high)
    return enter.masked_fill((enter > leave) | (enter < near), INFINITY)


def sphere_roots(origin: Triple, direction: Triple) -> tuple[Tensor, Tensor]:
    """Both t at which the ray crosses the unit sphere; NaN where it does not."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = (ox * dx + oy * dy + oz * dz) / a  # t of the point nearest to the centre is -b
    px, py, pz = ox - b * dx, oy - b * dy, oz - b * dz  # that point: a small number, unlike the origin of a far view
    root = ((1.0 - (px * px + py * py + pz * pz)) / a).sqrt()
    return -b - root, root - b


def hit_ellipsoid(origin: Triple, direction: Triple, near: float) -> Tensor:
    first, _ = sphere_roots(origin, direction)
    return first.masked_fill(~(first >= near), INFINITY)


def hit_cone(origin: Triple, direction: Triple, near: float, taper: Tensor) -> Tensor:
    """A cone's frustum with caps: its radius is 1 at z = -1 and 1 - taper at z = 1. taper: P x 1"""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    slope = 0.5 * taper
    shift = -(ox * dx + oy * dy + oz * dz) / (dx * dx + dy * dy + dz * dz)  # start near the solid: see sphere_roots
    ox, oy, oz = ox + shift * dx, oy + shift * dy, oz + shift * dz
    radius, widening = 1.0 - slope - slope * oz, -slope * dz  # radius at parameter t is radius + t * widening
    a = dx * dx + dy * dy - widening * widening
    b = ox * dx + oy * dy - radius * widening
    c = ox * ox + oy * oy - radius * radius
    root = (b * b - a * c).sqrt()
    best = torch.full_like(root, INFINITY)
    for t in ((-b - root) / a, (root - b) / a):
        good = ((oz + t * dz).abs() <= 1.0) & (radius + t * widening >= 0) & (t + shift >= near)
        best = torch.where(good, torch.minimum(best, t), best)
    side = -dz.sign()  # the cap that faces the ray's start
    t = (side - oz) / dz
    x, y, rim = ox + t * dx, oy + t * dy, 1.0 - slope - slope * side
    good = (x * x + y * y <= rim * rim) & (t + shift >= near)
    return torch.where(good, torch.minimum(best, t), best) + shift


def look_up(library: Tensor, texture: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
    """The packed texel nearest to u, v (one repeat is 1) at a level of detail (an integer tensor)."""
    side = SIDE >> level
    x, y = (u * side).floor().long() & (side - 1), (v * side).floor().long() & (side - 1)
    return library.take(texture * TEXELS + level_start(side) + y * side + x)


def opaque(library: Tensor, texture: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
    """Whether the pattern covers the point u, v."""
    return ((look_up(library, texture, u, v, level) >> 24) & 255) >= 128


def across(x: Tensor, y: Tensor, z: Tensor, axis_x: Tensor, axis_y: Tensor) -> tuple[Tensor, Tensor]:
    """The two coordinates that run along a face: (y, z) where axis_x, (x, z) where axis_y, else (x, y)."""
    return torch.where(axis_x, y, x), torch.where(axis_x | axis_y, z, y)


def hit_leaves(origin: Triple, direction: Triple, near: float, cut: "Cut") -> Tensor:
    """An ellipsoid's skin with holes: first its near side, else through the holes its far side."""
    best = None
    for t in sphere_roots(origin, direction):
        x, y, z = (o + t * d for o, d in zip(origin, direction, strict=True))
        largest = torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs())
        axis_x, axis_y = x.abs() == largest, y.abs() == largest
        u, v = across(x * cut.scale[0], y * cut.scale[1], z * cut.scale[2], axis_x, axis_y)
        there = (t >= near) & opaque(cut.library, cut.texture, u.nan_to_num(0.0), v.nan_to_num(0.0), cut.level)
        t = t.masked_fill(~there, INFINITY)
        best = t if best is None else torch.minimum(best, t)
    return best


def hit_card(origin: Triple, direction: Triple, near: float, cut: "Cut") -> Tensor:
    """The rectangle z = 0, cut out by its texture, which fills it once."""
    t = -origin[2] / direction[2]
    x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
    inside = (x.abs() < 1.0) & (y.abs() < 1.0) & (t >= near)
    u, v = (0.5 + 0.5 * x).masked_fill(~inside, 0.0), (0.5 + 0.5 * y).masked_fill(~inside, 0.0)
    return t.masked_fill(~(inside & opaque(cut.library, cut.texture, u, v, cut.level)), INFINITY)


class Cut:
    """What cuts holes into a row of pairs: texture and level (P x 1), and repeats of it per unit along x, y, z (P x 1
    each)."""

    def __init__(self, library: Tensor, texture: Tensor, level: Tensor, scale: Triple):
        self.library, self.texture, self.level, self.scale = library, texture, level, scale
