"""What the visible points look like before light falls on them: position, normal, colour, gloss, glow.

Letters: B scenes, H W picture, N = B * H * W points, K solids, M materials of all scenes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .builder import BOX, CARD, CONE
from .camera import Cameras, Rays
from .canvas import SIDE
from .shapes import across
from .textures import LEVELS, TEXELS, level_start
from .visibility import Solids

Triple = tuple[Tensor, Tensor, Tensor]


@dataclass
class Surface:
    """Visible points; where the sky is, the numbers mean nothing. Every field is B x H x W, or three of them (x, y, z
    or RGB)."""

    position: Triple  # world, metres
    normal: Triple  # world, unit, towards the camera
    ray: Triple  # world, unit, from the camera
    colour: Triple  # linear RGB
    gloss: Tensor
    glow: Tensor
    sky: Tensor  # bool


def dot(a: Triple, b: Triple) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(a: Triple) -> Triple:
    scale = dot(a, a).clamp(min=1e-20).rsqrt()
    return a[0] * scale, a[1] * scale, a[2] * scale


def wide(values: Tensor) -> Tensor | Triple:
    """B -> B 1 1, and B 3 -> three times B 1 1"""
    return (
        values[:, None, None] if values.dim() == 1 else tuple(values[:, i, None, None] for i in range(values.shape[1]))
    )


def select(condition: Tensor, a: Triple, b: Triple) -> Triple:
    return tuple(torch.where(condition, p, q) for p, q in zip(a, b, strict=True))


def pixel_directions(rays: Rays, height: int, width: int) -> Triple:
    """World direction of every pixel's ray, one metre along the camera's axis. B H W each"""
    u = (torch.arange(width, device=rays.direction.device) + 0.5)[None, None, :]
    v = (torch.arange(height, device=rays.direction.device) + 0.5)[None, :, None]
    constant, per_u, per_v = rays.direction[:, :, :, None, None].unbind(2)  # B 3 1 1 each
    return tuple(constant[:, i] + per_u[:, i] * u + per_v[:, i] * v for i in range(3))


def visible_surface(
    rays: Rays, cameras: Cameras, solids: Solids, materials: Tensor, library: Tensor, depth: Tensor, nearest: Tensor
) -> Surface:
    """The points that the camera sees. rays and solids lie on the pictures' device; materials: M x MATERIAL_COLUMNS."""
    height, width = depth.shape[1:]
    sky = nearest < 0
    distance = depth.masked_fill(sky, 100.0)
    direction = pixel_directions(rays, height, width)
    camera = cameras.position[:, :, None, None].unbind(1)
    position = tuple(o + distance * d for o, d in zip(camera, direction, strict=True))

    shape_of_solid = torch.repeat_interleave(
        torch.arange(len(solids.counts), device=depth.device),
        torch.tensor(solids.counts, device=depth.device),
        output_size=len(solids.values),
    )
    values = (
        solids.values.t().contiguous().index_select(1, nearest.clamp(min=0).view(-1)).view(-1, *depth.shape)
    )  # columns B H W
    shape = shape_of_solid.take(nearest.clamp(min=0))
    relative = tuple(p - c for p, c in zip(position, values[0:3], strict=True))
    axes = [tuple(values[3 + 3 * i : 6 + 3 * i]) for i in range(3)]
    metric = tuple(dot(relative, axis) for axis in axes)  # metres along the solid's axes
    half = tuple(values[12:15])
    local = tuple(m / h for m, h in zip(metric, half, strict=True))  # -1..1

    gradient, axis_x, axis_y, round_side = local_gradient(shape, local, values[15])
    scaled = tuple(g / h for g, h in zip(gradient, half, strict=True))
    normal = unit(tuple(scaled[0] * a + scaled[1] * b + scaled[2] * c for a, b, c in zip(*axes, strict=True)))
    ray = unit(direction)
    facing = dot(normal, ray)
    normal = tuple(torch.where(facing > 0, -n, n) for n in normal)

    looks = materials.t().contiguous().index_select(1, values[16].long().view(-1)).view(-1, *depth.shape)
    colour = pattern_colour(
        looks,
        library,
        metric,
        local,
        half,
        axis_x,
        axis_y,
        round_side,
        distance / cameras.fx[:, None, None],
        facing.abs(),
    )
    return Surface(position, normal, ray, colour, looks[14], looks[15], sky)


def local_gradient(shape: Tensor, local: Triple, taper: Tensor) -> tuple[Triple, Tensor, Tensor, Tensor]:
    """The direction out of the solid in its own coordinates; whether that is its x axis, its y axis, a cone's side."""
    x, y, z = local
    ax, ay, az = x.abs(), y.abs(), z.abs()
    largest = torch.maximum(torch.maximum(ax, ay), az)
    axis_x = ax == largest
    axis_y = (ay == largest) & ~axis_x
    flat_x, flat_y = torch.where(axis_x, x, 0.0), torch.where(axis_y, y, 0.0)
    flat = flat_x, flat_y, torch.where(axis_x | axis_y, 0.0, z)

    is_cone, is_card = shape == CONE, shape == CARD
    slope = 0.5 * taper
    radius = 1.0 - slope - slope * z
    round_side = is_cone & (x * x + y * y > (0.9985 * radius) ** 2) & (az < 0.9999)
    zero = torch.zeros_like(x)
    cap = select(is_card, (zero, zero, torch.ones_like(z)), (zero, zero, z.sign()))
    side = (x, y, slope * radius)
    gradient = select(shape == BOX, flat, select(is_card | is_cone, select(round_side, side, cap), local))
    on_cap = is_card | is_cone
    return gradient, axis_x & ~on_cap, axis_y & ~on_cap, round_side


def angle_of(x: Tensor, y: Tensor) -> Tensor:
    """atan2(y, x) to about 0.01 radians, with additions and products only."""
    ax, ay = x.abs(), y.abs()
    small = torch.minimum(ax, ay) / torch.maximum(ax, ay).clamp(min=1e-12)
    angle = small * (1.0584 - 0.273 * small)
    angle = torch.where(ay > ax, 1.5708 - angle, angle)
    angle = torch.where(x < 0, 3.14159 - angle, angle)
    return torch.where(y < 0, -angle, angle)


def pattern_colour(looks, library, metric, local, half, axis_x, axis_y, round_side, pixel, facing) -> Triple:
    """Linear RGB at every point: the material's three colours mixed by its texture, smoothly between texels. B H W each

    looks: material columns; metric and local: coordinates along the solid's axes in metres and in -1..1; pixel: size
    of a pixel at the point, metres; facing: cosine between ray and normal.
    """
    repeat = looks[10]
    fills = repeat == 0  # the pattern fills the face once
    wide, tall = across(*half, axis_x, axis_y)
    first, second = across(*metric, axis_x, axis_y)
    around = angle_of(local[0], local[1])
    first = torch.where(round_side, around * half[0], first)
    second = torch.where(round_side, metric[2], second)
    scale = 1.0 / torch.where(fills, torch.ones_like(repeat), repeat)
    u = torch.where(
        fills, torch.where(round_side, around / 3.14159, 0.5 + 0.5 * first / wide), first * scale + looks[11]
    )
    v = torch.where(fills, 0.5 + 0.5 * second / torch.where(round_side, half[2], tall), second * scale + looks[12])
    turned = looks[13] > 0
    u, v = torch.where(turned, v, u), torch.where(turned, u, v)

    texels = SIDE * torch.where(fills, 0.5 / torch.minimum(wide, tall), scale) * pixel / facing.clamp(min=0.12).sqrt()
    level = texels.clamp(min=1.0, max=float(2 ** (LEVELS - 1))).log2().round().long()
    number = looks[9].long()
    side = SIDE >> level
    start = number * TEXELS + level_start(side)
    u, v = u * side - 0.5, v * side - 0.5
    left, low = u.floor(), v.floor()
    part_u, part_v = u - left, v - low
    columns = [(left.long() + d) & (side - 1) for d in (0, 1)]
    rows = [start + ((low.long() + d) & (side - 1)) * side for d in (0, 1)]
    mixed = None
    for column, weight_u in zip(columns, (1.0 - part_u, part_u), strict=True):
        for row, weight_v in zip(rows, (1.0 - part_v, part_v), strict=True):
            packed, weight = library.take(row + column), weight_u * weight_v
            parts = [((packed >> shift) & 255) * weight for shift in (0, 8, 16)]
            mixed = parts if mixed is None else [m + p for m, p in zip(mixed, parts, strict=True)]
    b, c, brightness = (part * (1.0 / 255) for part in mixed)
    a = (1.0 - b - c).clamp(min=0.0)
    brightness = brightness * 1.992
    return tuple((looks[i] * a + looks[3 + i] * b + looks[6 + i] * c) * brightness for i in range(3))
