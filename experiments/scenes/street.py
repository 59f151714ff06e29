"""Streets."""

import math

from . import materials as m
from . import outdoors as o
from .builder import Camera, Scene
from .layouts import eye_height, lens
from .open_layouts import backdrop, ground_plane, outdoor_light
from .rooms import WORLD


def row(scene: Scene, x: float, start: float, end: float, gap: float, put) -> None:
    """Alike things along y: calls put(frame) every `gap` metres."""
    y, count = start + scene.random.uniform(0, gap), 0
    while y < end and count < 12:
        put(WORLD.at(x, y))
        y, count = y + gap * scene.random.uniform(0.85, 1.15), count + 1


def buildings(scene: Scene, side: int, x: float, start: float, end: float) -> None:
    """A closed or loose row of houses along y, their fronts at x, looking towards the street."""
    random = scene.random
    y = start
    while y < end:
        wide, tall, depth = (
            random.uniform(6, 18),
            random.choice([random.uniform(4, 8), random.uniform(7, 20)]),
            random.uniform(8, 12),
        )
        front = WORLD.at(x, y + wide / 2, 0, yaw=-side * math.pi / 2)  # the frame's -y looks to the street
        if y < start + 25:
            scene.box(front, (0, depth / 2, tall / 2), (wide, depth, tall), m.masonry(scene))
            o.windows(
                scene,
                front,
                wide,
                tall,
                m.glass(scene),
                m.paint(scene, (0.1, 0.05, random.choice([0.9, 0.25]))),
                door=True,
            )
            scene.box(front, (0, depth / 2, tall), (wide + 0.4, depth + 0.4, 0.3), m.masonry(scene))
        else:
            scene.box(
                front, (0, depth / 2, tall / 2), (wide, depth, tall), m.windowed(scene, repeat=random.uniform(5, 8))
            )
        y += wide + (0.0 if random.random() < 0.7 else random.uniform(1, 8))


def street(scene: Scene) -> None:
    """A street with houses, trees, cars, lamps and people, seen from the road, the pavement or above."""
    random = scene.random
    half, pavement = random.uniform(2.5, 6), random.uniform(1.2, 4)
    side_x = half + pavement
    place = random.choice([0.0, half * 0.6, side_x - 0.8, -side_x + 0.8])
    height = eye_height(random) if random.random() < 0.85 else random.uniform(2.5, 7)
    roll, view = lens(random)
    yaw = random.gauss(0, 0.2) if random.random() < 0.7 else random.uniform(-1.5, 1.5)
    scene.camera = Camera((place, 0.0, height), yaw, random.gauss(-0.05, 0.08) - 0.04 * (height - 1.5), roll, view)
    outdoor_light(scene, random.uniform(12, 20))
    ground_plane(scene, random.choice(["grass", "paving", "litter"]))
    scene.box(
        WORLD, (0, 90, -0.49), (2 * half, 260, 1.0), m.soil(scene, "asphalt" if random.random() < 0.75 else "paving")
    )
    slabs = m.soil(scene, random.choice(["paving", "asphalt"]))
    white = m.surface(scene, "speckle", (0.12, 0.03, 0.85), repeat=2.0)
    for side in (-1, 1):
        scene.box(WORLD, (side * (half + pavement / 2), 90, -0.43), (pavement, 260, 1.1), slabs)
        scene.box(WORLD, (side * (half + 0.08), 90, -0.425), (0.16, 260, 1.1), m.soil(scene, "sand"))
    for i in range(random.choice([0, 9])):
        scene.box(WORLD, (0, i * 6.0 - 4, 0.012), (0.12, 3.0, 0.01), white)
    if random.random() < 0.2:
        y = random.uniform(4, 15)
        for i in range(int(half * 2)):
            scene.box(WORLD, (i - half + 0.5, y, 0.012), (0.5, 3.0, 0.01), white)
    style, leaves = random.choice([None, "leafy", "leafy", "bare"]), m.leaf_colour(random)
    for side in (-1, 1):
        kind = random.random()
        if kind < 0.7:
            buildings(
                scene,
                side,
                side * (side_x + random.choice([0.0, 0.0, random.uniform(1, 6)])),
                -15.0,
                random.uniform(25, 75),
            )
        elif kind < 0.85:
            frame = WORLD.at(side * side_x, -6.0, 0, yaw=math.pi / 2)
            o.fence(scene, frame, 26.0, random.uniform(0.9, 1.8))
            row(
                scene,
                side * (side_x + 8),
                -5,
                70,
                15,
                lambda p, side=side: o.house(scene, p.at(yaw=-side * math.pi / 2), 9, 8, random.uniform(3, 6)),
            )
        else:
            scene.box(WORLD, (side * (side_x + 0.2), 30, 1.0), (0.4, 120, random.uniform(1.5, 3)), m.masonry(scene))
        if random.random() < 0.6:
            tall = random.uniform(4, 9)
            row(
                scene,
                side * (half + 0.7),
                3,
                60,
                random.uniform(6, 12),
                lambda p, tall=tall: o.tree(scene, p, tall, style=style, colour=leaves),
            )
        if random.random() < 0.65:
            row(
                scene,
                side * (half - 1.0),
                -4,
                45,
                random.uniform(5.2, 9),
                lambda p: o.car(scene, p.at(yaw=random.choice([0, math.pi]))),
            )
        if random.random() < 0.4:
            tall = random.uniform(4, 8)
            row(
                scene,
                side * (half + 0.4),
                2,
                70,
                random.uniform(10, 20),
                lambda p, side=side, tall=tall: o.street_lamp(scene, p.at(yaw=math.pi / 2 * (1 + side)), tall),
            )
        if random.random() < 0.25:
            post = m.metal(scene)
            row(
                scene,
                side * (half + 0.35),
                1,
                20,
                1.6,
                lambda p, post=post: scene.cylinder(p, (0, 0, 0), 0.06, 0.95, post),
            )
        for _ in range(random.randint(0, 4)):
            walker = WORLD.at(
                side * (half + pavement * random.uniform(0.25, 0.9)),
                random.uniform(2.5, 30),
                0.12,
                yaw=random.uniform(-3, 3),
            )
            random.choice([o.person, o.person, o.person, o.sign, o.bench, o.bin_])(scene, walker)
    for _ in range(random.choice([0, 1, 2])):
        o.car(
            scene, WORLD.at(random.uniform(-0.5, 0.5) * half, random.uniform(6, 40), 0, yaw=random.choice([0, math.pi]))
        )
    backdrop(scene, random.uniform(90, 180))
    scene.clear_view(0.6)
