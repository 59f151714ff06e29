"""Light on the visible points: sun or lamp with shadows, light from all sides with contact shading, sky, gloss, fog.

Letters: B scenes, H W picture, L scenes with a light of one kind.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .builder import Scene
from .camera import SHADOW_SIDE, Cameras, Rays, lamp_rays, sun_rays
from .screen_space import contact_shading, mirrored
from .shapes import look_up
from .surface import Surface, Triple, dot, unit, wide
from .textures import LEVELS, TEXTURES
from .visibility import Solids, trace

SHADOW_TAPS = [
    (0.0, 0.0),
    (0.9, 0.3),
    (-0.3, 0.9),
    (-0.9, -0.3),
    (0.3, -0.9),
    (0.45, 0.6),
    (-0.6, 0.45),
    (-0.45, -0.6),
    (0.6, -0.45),
]


@dataclass
class Lights:
    """Numbers of every scene's lights on the pictures' device: B x 3 or B. A lamp's `towards` is its position."""

    colour: Tensor
    towards: Tensor
    is_lamp: Tensor
    fill_position: Tensor
    fill_colour: Tensor
    ambient_up: Tensor
    ambient_down: Tensor
    horizon: Tensor
    zenith: Tensor
    clouds: Tensor
    fog: Tensor
    contact_radius: Tensor
    cloud_shift: Tensor


def gather_lights(scenes: list[Scene], device) -> Lights:
    def column(values) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).to(device)

    return Lights(
        colour=column([s.light.colour for s in scenes]),
        towards=column([s.light.direction or s.light.position for s in scenes]),
        is_lamp=column([float(s.light.direction is None) for s in scenes]),
        fill_position=column([s.fill[0] for s in scenes]),
        fill_colour=column([s.fill[1] for s in scenes]),
        **{
            name: column([getattr(s, name) for s in scenes])
            for name in (
                "ambient_up",
                "ambient_down",
                "horizon",
                "zenith",
                "clouds",
                "fog",
                "contact_radius",
                "cloud_shift",
            )
        },
    )


def shadows(scenes: list[Scene], solids: Solids, surface: Surface, library: Tensor) -> Tensor:
    """How much of the sun or lamp reaches every point, 0..1. solids lie on the CPU. B H W"""
    device = surface.sky.device
    lit = torch.ones_like(surface.position[0])
    for make_rays, is_sun in ((sun_rays, True), (lamp_rays, False)):
        members = [b for b, scene in enumerate(scenes) if (scene.light.direction is not None) == is_sun]
        if not members:
            continue
        number = torch.full((len(scenes),), -1)
        number[members] = torch.arange(len(members))
        casting = solids.select((solids.values[:, 17] > 0) & (number[solids.scene] >= 0), number)
        lights = [scenes[b].light for b in members]
        rays = make_rays(lights)
        depth, _ = trace(rays, casting, library, SHADOW_SIDE, SHADOW_SIDE)  # L S S
        index = torch.tensor(members, device=device)
        position = tuple(p[index] for p in surface.position)
        normal = tuple(n[index] for n in surface.normal)
        softness = torch.tensor([light.softness * SHADOW_SIDE for light in lights]).to(device)
        lit[index] = shadow_lookup(rays, depth, position, normal, softness)
    return lit


def shadow_lookup(rays: Rays, depth: Tensor, position: Triple, normal: Triple, softness: Tensor) -> Tensor:
    """Compare points with a shadow map at several places around each, softly. L H W"""
    device = depth.device
    pixel = (1.0 / rays.focal).to(device)[:, None, None]
    right, down, forward = (wide(axis.to(device)) for axis in rays.axes)
    start = wide(rays.position.to(device))
    relative = tuple(p - s for p, s in zip(position, start, strict=True))
    size = pixel * dot(relative, forward).clamp(min=0.1) if rays.perspective else pixel.expand_as(position[0])
    lift = size * (1.2 + 0.8 * softness[:, None, None])  # off the surface, as far as the places lie apart: no speckles
    relative = tuple(r + n * lift for r, n in zip(relative, normal, strict=True))
    t = dot(relative, forward)
    scale = (1.0 / pixel) / t.clamp(min=0.1) if rays.perspective else 1.0 / pixel
    half = SHADOW_SIDE / 2
    u, v = dot(relative, right) * scale + half, dot(relative, down) * scale + half
    base = (torch.arange(len(depth), device=device) * SHADOW_SIDE**2)[:, None, None]
    total = torch.zeros_like(t)
    for x, y in SHADOW_TAPS:
        column = (u + x * softness[:, None, None]).clamp(0, SHADOW_SIDE - 1).long()
        row = (v + y * softness[:, None, None]).clamp(0, SHADOW_SIDE - 1).long()
        blocked = t - depth.take(base + row * SHADOW_SIDE + column) - 0.5 * size
        total += (blocked / size).clamp(0, 1)
    outside = (u < 1) | (u > SHADOW_SIDE - 2) | (v < 1) | (v > SHADOW_SIDE - 2) | (t < 0.05)
    return (1.0 - total / len(SHADOW_TAPS)).masked_fill(outside, 1.0)


def sky_colour(ray: Triple, lights: Lights, library: Tensor) -> Triple:
    """Radiance of the sky in a direction: pale at the horizon, with clouds, bright around the sun. B H W each"""
    x, y, z = ray
    height = z.clamp(0.0, 1.0).sqrt()
    reach = 0.18 / (z.clamp(min=0.0) + 0.12)
    number = torch.full_like(z, TEXTURES["plaster"][0], dtype=torch.long)
    level = (reach * 2.0).clamp(min=1.0).log2().long().clamp(max=LEVELS - 1)
    shift = wide(lights.cloud_shift)
    cover = ((look_up(library, number, x * reach + shift, y * reach, level) & 255) * (2.0 / 255)).clamp(0, 1)
    cover = cover + 0.5 * (
        (look_up(library, number, x * reach * 3 + shift, y * reach * 3, level + 1 - (level == LEVELS - 1).long()) & 255)
        * (2.0 / 255)
        - 0.5
    )
    cover = ((cover - 0.9 + wide(lights.clouds)) * 1.5).clamp(0, 1) * (z > 0)
    glow = dot(ray, wide(lights.towards)).clamp(min=0) * (1.0 - wide(lights.is_lamp))
    glow = glow**8 * 0.25
    parts = zip(wide(lights.horizon), wide(lights.zenith), wide(lights.ambient_up), wide(lights.colour), strict=True)
    return tuple(
        (low + (high - low) * height) * (1 - cover) + cover * (1.25 * up + 0.15 * sun) + glow * sun
        for low, high, up, sun in parts
    )


def shade(surface: Surface, depth: Tensor, cameras: Cameras, lights: Lights, lit: Tensor, library: Tensor) -> Tensor:
    """Linear RGB of the picture before the camera: B x 3 x H x W. lit: what `shadows` gives, B x H x W."""
    normal, ray = surface.normal, surface.ray
    open_ = contact_shading(depth, surface, cameras, lights.contact_radius)

    lamp = wide(lights.is_lamp)
    towards = tuple(t - lamp * p for t, p in zip(wide(lights.towards), surface.position, strict=True))
    square = dot(towards, towards)
    towards = tuple(t * square.rsqrt() for t in towards)
    strength = lit * torch.where(lamp > 0, 1.0 / (square + 0.4), 1.0)
    direct = dot(normal, towards).clamp(min=0.0) * strength

    fill = tuple(f - p for f, p in zip(wide(lights.fill_position), surface.position, strict=True))
    fill_square = dot(fill, fill)
    filled = dot(normal, fill).clamp(min=0.0) * fill_square.rsqrt() / (fill_square + 1.0) * (0.3 + 0.7 * open_)

    half = unit(tuple(t - r for t, r in zip(towards, ray, strict=True)))
    gloss = surface.gloss
    shine = dot(normal, half).clamp(min=0.0)
    broad = shine**16
    shine = strength * gloss * (0.3 * broad + 1.5 * gloss * (broad * broad) ** 4)
    cosine = -dot(normal, ray)
    bounce = tuple(r + 2.0 * cosine * n for r, n in zip(ray, normal, strict=True))  # the mirrored ray
    fresnel = gloss * (0.05 + 0.75 * (1.0 - cosine).clamp(0, 1) ** 4)
    upwards = 0.5 + 0.5 * normal[2]
    mirror_up = 0.5 + 0.5 * (bounce[2] * 3.0).clamp(-1, 1)
    fog = (1.0 - 1.0 / (1.0 + (depth * wide(lights.fog)).clamp(max=1e4) ** 1.5)).masked_fill(surface.sky, 0.0)

    channels, surroundings = [], []
    columns = zip(
        surface.colour, wide(lights.colour), wide(lights.fill_colour), wide(lights.ambient_up),
        wide(lights.ambient_down), sky_colour(ray, lights, library), strict=True,
    )  # fmt: skip
    for colour, light, second, above, below, background in columns:
        around = (below + (above - below) * upwards) * open_
        value = colour * (around + light * direct + second * filled + surface.glow) + light * shine
        channels.append(torch.where(surface.sky, background, value))
        surroundings.append((below + (above - below) * mirror_up) * open_)
    light = torch.stack(channels, 1)
    colour, met = mirrored(light, depth, surface, cameras, bounce)
    reflected = colour + torch.stack(surroundings, 1) * (1.0 - met)[:, None]
    light = light + (fresnel.masked_fill(surface.sky, 0.0))[:, None] * reflected
    return light + (lights.horizon[:, :, None, None] - light) * fog[:, None]
