"""Rooms without their furniture: walls with windows and doors, what hangs on them, what is outside, and the light."""

import math

from . import materials as m
from . import small_things as t
from .builder import Frame, Light, Scene, thing

WORLD = Frame((0.0, 0.0, 0.0))


def wall_with_openings(
    scene: Scene,
    frame: Frame,
    length: float,
    height: float,
    openings: list[tuple[float, float, float, float]],
    material: int,
) -> None:
    """A wall along the frame's x axis whose inner face is at y = 0, around openings (left, right, bottom, top)."""
    thick, x = 0.15, -length / 2
    for left, right, bottom, top in sorted(openings):
        scene.box(frame, ((x + left) / 2, thick / 2, height / 2), (left - x, thick, height), material)
        if bottom > 0:
            scene.box(frame, ((left + right) / 2, thick / 2, bottom / 2), (right - left, thick, bottom), material)
        scene.box(
            frame, ((left + right) / 2, thick / 2, (top + height) / 2), (right - left, thick, height - top), material
        )
        x = right
    scene.box(frame, ((x + length / 2) / 2, thick / 2, height / 2), (length / 2 - x, thick, height), material)


def window(scene: Scene, frame: Frame, opening: tuple[float, float, float, float], trim: int) -> None:
    """Frame, bars, sill, and something in it: open to the outside, a bright blind, or curtains beside it."""
    random = scene.random
    left, right, bottom, top = opening
    x, z, wide, tall = (left + right) / 2, (bottom + top) / 2, right - left, top - bottom
    for sx in (-1, 0, 1):
        scene.box(frame, (x + sx * (wide / 2 - 0.025), 0.1, z), (0.05, 0.05, tall), trim)
    for sz in (-1, 1):
        scene.box(frame, (x, 0.1, z + sz * (tall / 2 - 0.025)), (wide, 0.05, 0.05), trim)
    scene.box(frame, (x, -0.05, bottom - 0.02), (wide + 0.1, 0.25, 0.04), trim)
    if random.random() < 0.45:  # milky glass or a blind: bright, and nothing to see behind
        pattern = random.choice(["plain", "louvres", "folds"])
        pale = (random.choice([0.1, 0.58]), random.uniform(0, 0.12), 0.97)
        scene.box(
            frame,
            (x, 0.12, z),
            (wide, 0.01, tall),
            m.surface(scene, pattern, pale, repeat=0.0, glow=random.uniform(0.3, 1.5)),
        )
    if random.random() < 0.4:
        cloth = m.surface(scene, "folds", m.any_colour(random), repeat=random.uniform(0.5, 1.0), gloss=0.0)
        for sx in (-1, 1):
            scene.box(
                frame,
                (x + sx * (wide / 2 + 0.1), -0.1, z * 0.95),
                (random.uniform(0.25, 0.5), 0.08, tall * 1.25),
                cloth,
            )


def door(scene: Scene, frame: Frame, opening: tuple[float, float, float, float], trim: int) -> None:
    """A door in its frame, closed or ajar."""
    random = scene.random
    left, right, _, top = opening
    for x in (left, right):
        scene.box(frame, (x, 0.0, top / 2), (0.09, 0.18, top), trim)
    scene.box(frame, ((left + right) / 2, 0.0, top), (right - left + 0.09, 0.18, 0.09), trim)
    leaf = frame.at(left, 0.1, 0, yaw=0.0 if random.random() < 0.7 else random.uniform(0.2, 1.5))
    colour = m.wood_colour(random) if random.random() < 0.6 else (0.1, 0.03, 0.9)
    front = m.surface(
        scene, random.choice(["panels", "plain", "wood"]), colour, *m.shades(colour, 0.8, 0.4), repeat=0.0
    )
    wide = right - left
    scene.box(leaf, (wide / 2, 0, top / 2), (wide, 0.04, top), front)
    scene.rod(leaf, (wide - 0.08, -0.06, 1.0), (wide - 0.2, -0.06, 1.0), 0.012, m.metal(scene))


def shell(scene: Scene, width: float, depth: float, height: float) -> list[tuple[Frame, float, list]]:
    """Floor, ceiling and four walls with windows and doors. Returns each wall's frame, length and openings."""
    random = scene.random
    paint, accent, trim = m.wall(scene), m.wall(scene), m.paint(scene, (0.1, 0.04, random.choice([0.92, 0.92, 0.3])))
    scene.box(WORLD, (0, 0, -0.1), (width + 0.3, depth + 0.3, 0.2), m.indoor_floor(scene))
    pale = (0.1, random.uniform(0, 0.06), random.uniform(0.8, 0.97))
    ceiling = m.surface(
        scene, random.choice(["plaster", "plain", "tiles"]), pale, *m.shades(pale, 0.97, 0.8), repeat=1.2, gloss=0.0
    )
    scene.box(WORLD, (0, 0, height + 0.1), (width + 0.3, depth + 0.3, 0.2), ceiling)
    skirting = random.random() < 0.6
    walls = []
    for side in range(4):
        length, reach = (width, depth / 2) if side % 2 == 0 else (depth, width / 2)
        frame = WORLD.at(yaw=side * math.pi / 2).at(0, reach)
        openings, x = [], -length / 2 + random.uniform(0.3, 1.2)
        while x < length / 2 - 1.3:
            kind = random.random()
            if kind < 0.3:
                opening = (
                    x,
                    x + random.uniform(0.8, min(2.5, length / 2 - 0.2 - x)),
                    random.uniform(0.5, 1.0),
                    min(height - 0.2, 2.2),
                )
                window(scene, frame, opening, trim)
                openings.append(opening)
            elif kind < 0.45:
                opening = (x, x + 0.9, 0.0, 2.05)
                door(scene, frame, opening, trim)
                openings.append(opening)
            x += random.uniform(1.5, 3.5) if not openings else openings[-1][1] - x + random.uniform(0.4, 2.0)
        material = accent if random.random() < 0.25 else paint
        wall_with_openings(scene, frame, length + 0.3, height, openings, material)
        if skirting:
            scene.box(frame, (0, -0.008, 0.05), (length, 0.016, 0.1), trim)
        walls.append((frame, length, openings))
    outside(scene, width + depth)
    return walls


def outside(scene: Scene, size: float) -> None:
    """What is behind the windows: ground some way below, and something bright at a distance."""
    random = scene.random
    below = random.choice([0.3, 3.5, 7.0])
    scene.box(WORLD, (0, 0, -below - 1), (300, 300, 1.6), m.soil(scene, random.choice(["grass", "paving", "asphalt"])))
    for i in range(4):
        place = WORLD.at(yaw=i * math.pi / 2 + random.gauss(0, 0.1)).at(0, size + random.uniform(3, 25), -below)
        tall = random.uniform(2, 14)
        material = m.foliage(scene) if random.random() < 0.4 else m.windowed(scene, repeat=7.0)
        scene.box(place, (random.gauss(0, 5), 0, tall / 2), (random.uniform(6, 30), 2, tall), material)


@thing
def wall_thing(scene: Scene, frame: Frame) -> None:
    """A picture, clock, radiator, small shelf or switch on a wall above the frame's origin."""
    random = scene.random
    kind = random.random()
    if kind < 0.6:
        wide, tall, z = random.uniform(0.2, 1.0), random.uniform(0.2, 0.9), random.uniform(1.4, 1.75)
        rim = m.wood(scene) if random.random() < 0.7 else m.metal(scene)
        scene.box(frame, (0, -0.015, z), (wide + 0.05, 0.03, tall + 0.05), rim)
        scene.box(
            frame,
            (0, -0.02, z),
            (wide, 0.03, tall),
            m.printed(scene, random.choice(["painting", "painting", "label", "page"])),
        )
    elif kind < 0.7:
        scene.rod(frame, (0, 0, 1.9), (0, -0.04, 1.9), 0.15, m.paint(scene))
        scene.rod(frame, (0, -0.04, 1.9), (0, -0.045, 1.9), 0.135, m.printed(scene, "page"))
    elif kind < 0.8:
        front = m.surface(scene, "louvres", (0.1, 0.04, 0.9), repeat=0.4, turned=True)
        scene.box(frame, (0, -0.06, 0.4), (random.uniform(0.6, 1.4), 0.1, 0.55), front)
    elif kind < 0.9:
        scene.box(frame, (0, -0.1, 1.5), (random.uniform(0.5, 1.2), 0.2, 0.03), m.wood(scene))
        t.spread_things(scene, frame.at(0, -0.1, 1.515), 0.5, 0.08, 3, largest=0.25)
    else:
        scene.box(frame, (0, -0.01, 1.1), (0.08, 0.02, 0.08), m.paint(scene, (0, 0, 0.9)))


def hang(scene: Scene, wall: tuple[Frame, float, list]) -> None:
    """Pictures, clocks, switches, radiators and the like on a wall, where it has no openings."""
    random = scene.random
    frame, length, openings = wall
    for _ in range(random.randint(0, 5)):
        x = random.uniform(-length / 2 + 0.5, length / 2 - 0.5)
        if any(left - 0.5 < x < right + 0.5 for left, right, _, _ in openings):
            continue
        wall_thing(scene, frame.at(x))


def indoor_light(scene: Scene, width: float, depth: float, height: float) -> None:
    """A lamp below the ceiling, or the sun through the windows; both with light from all sides."""
    random = scene.random
    warm = random.gauss(0.1, 0.12)
    tint = (1.0 + warm, 1.0, 1.0 - warm)
    level = random.uniform(0.2, 0.55)
    scene.ambient_up = tuple(level * c * random.uniform(0.98, 1.02) for c in tint)
    scene.ambient_down = tuple(level * random.uniform(0.5, 0.9) * c for c in tint)
    if random.random() < 0.3:
        elevation, azimuth, power = random.uniform(0.35, 0.9), random.uniform(-math.pi, math.pi), random.uniform(1.5, 5)
        flat = math.cos(elevation)
        direction = (flat * math.sin(azimuth), flat * math.cos(azimuth), math.sin(elevation))
        scene.light = Light(
            (power, power * 0.93, power * 0.8),
            direction=direction,
            centre=(0, 0, 1),
            radius=0.5 * max(width, depth) + 1,
        )
    else:
        power = random.uniform(0.6, 2.0) * height**2 * 0.3
        place = (
            random.uniform(-0.3, 0.3) * width,
            random.uniform(-0.3, 0.3) * depth,
            height - random.uniform(0.15, 0.4),
        )
        scene.light = Light(tuple(power * c for c in tint), position=place, softness=random.uniform(0.008, 0.03))
        for _ in range(random.randint(0, 3)):  # lamps that are seen, not computed
            shade = m.glowing(scene, (0.12, random.uniform(0, 0.1), 1.0), random.uniform(1, 3))
            x, y = random.uniform(-0.35, 0.35) * width, random.uniform(-0.35, 0.35) * depth
            if random.random() < 0.5:
                scene.box(
                    WORLD,
                    (x, y, height),
                    (random.choice([0.15, 0.6]), random.choice([0.6, 1.2]), 0.04),
                    shade,
                    casts=False,
                )
            else:
                drop = random.uniform(0.3, 0.8)
                with scene.one_object():
                    scene.cylinder(WORLD, (x, y, height - drop), 0.006, drop, m.metal(scene))
                    scene.cylinder(WORLD, (x, y, height - drop - 0.2), 0.18, 0.2, shade, top_radius=0.06)
    second = random.uniform(0, 0.6) * level
    scene.fill = (
        (random.uniform(-1, 1) * width, random.uniform(-1, 1) * depth, height * 0.6),
        tuple(second * 2 * c for c in tint),
    )
    scene.contact_radius = random.uniform(0.2, 0.5)
    scene.horizon, scene.zenith = (1.6, 1.7, 1.8), (1.0, 1.3, 1.8)
