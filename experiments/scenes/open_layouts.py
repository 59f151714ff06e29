"""Whole scenes outdoors: streets, open ground, fronts of buildings, and the table of all layouts."""

import math

from . import materials as m
from . import outdoors as o
from .builder import Camera, Light, Scene
from .layouts import eye_height, lens
from .rooms import WORLD, wall_with_openings
from .small_things import plant


def outdoor_light(scene: Scene, reach: float) -> None:
    """Sun and blue sky with or without clouds, an overcast sky, or dusk; `reach` metres ahead of the camera get
    shadows."""
    random = scene.random
    weather = random.random()
    azimuth, elevation = random.uniform(-math.pi, math.pi), random.uniform(0.25, 1.3)
    flat = math.cos(elevation)
    direction = (flat * math.sin(azimuth), flat * math.cos(azimuth), math.sin(elevation))
    if weather < 0.6:  # sunny
        power, warm = random.uniform(1.2, 3.0), 0.3 * (1 - elevation / 1.3)
        sun = (power * (1 + warm), power, power * (0.95 - warm))
        level, blue = random.uniform(0.35, 0.8), random.uniform(0.1, 0.45)
        scene.zenith = tuple(0.9 * level * c for c in (0.75 - blue, 0.95 - 0.5 * blue, 1.3))
        scene.horizon = tuple(1.5 * level * c for c in (0.95, 1.0, 1.08))
        scene.clouds = random.choice([0.0, random.random(), random.random()])
    elif weather < 0.92:  # overcast
        power, level = random.uniform(0.0, 0.4), random.uniform(0.6, 1.0)
        sun, grey = (power, power, power), random.uniform(0.9, 1.1)
        scene.zenith = tuple(level * c for c in (1.0, 1.03, 1.1 * grey))
        scene.horizon = tuple(level * 1.3 * c for c in (1.0, 1.0, 1.02))
        scene.clouds = random.uniform(0.2, 1.0)
    else:  # dusk
        power, level = random.uniform(0.1, 0.5), random.uniform(0.15, 0.4)
        sun = (power, power * 0.6, power * 0.3)
        scene.zenith, scene.horizon = (0.1, 0.16, 0.35), (0.5, 0.4, 0.35)
    scene.ambient_up = tuple(level * c for c in (0.95, 1.0, 1.08))
    scene.ambient_down = tuple(level * random.uniform(0.3, 0.5) * c for c in (1.0, 0.95, 0.85))
    yaw = scene.camera.yaw
    centre = (
        scene.camera.position[0] - math.sin(yaw) * reach * 0.75,
        scene.camera.position[1] + math.cos(yaw) * reach * 0.75,
        0.0,
    )
    scene.light = Light(sun, direction=direction, centre=centre, radius=reach, softness=random.uniform(0.004, 0.015))
    scene.contact_radius = random.uniform(0.4, 1.0)
    if random.random() < 0.3:
        scene.fog = random.uniform(0.001, 0.02) if random.random() < 0.8 else random.uniform(0.02, 0.06)


def backdrop(scene: Scene, distance: float) -> None:
    """Hills, woods or buildings far away."""
    random = scene.random
    kind = random.random()
    if kind < 0.4:
        green = (random.uniform(0.2, 0.4), random.uniform(0.1, 0.35), random.uniform(0.25, 0.5))
        hill = m.surface(scene, "litter", green, *m.shades(green, 0.8, 1.15), repeat=40.0, gloss=0.0)
        for _ in range(random.randint(1, 4)):
            wide = random.uniform(150, 500)
            scene.ellipsoid(
                WORLD,
                (random.gauss(0, 200), distance + wide / 2, -5),
                (wide * 1.6, wide * 0.8, wide * random.uniform(0.1, 0.35)),
                hill,
            )
    elif kind < 0.75:
        leaf = m.foliage(
            scene, repeat=5.0, colour=(random.uniform(0.18, 0.32), random.uniform(0.15, 0.45), random.uniform(0.2, 0.4))
        )
        for i in range(14):
            tall = random.uniform(6, 16)
            scene.ellipsoid(
                WORLD,
                ((i - 7) * distance * 0.16, distance * random.uniform(0.6, 1), tall * 0.3),
                (tall * 1.6, tall, tall),
                leaf,
                leafy=True,
            )
    elif kind < 0.9:
        for i in range(6):
            tall = random.uniform(6, 30)
            wall = m.windowed(scene, repeat=random.uniform(6, 9))
            scene.box(
                WORLD,
                ((i - 3) * distance * 0.35, distance * random.uniform(0.7, 1.2), tall / 2),
                (distance * 0.25, 12, tall),
                wall,
            )


def ground_plane(scene: Scene, kind: str) -> None:
    """Flat ground to the horizon; kind: see materials.soil."""
    scene.box(WORLD, (0, 0, -50), (3000, 3000, 100), m.soil(scene, kind))


def ground(scene: Scene) -> None:
    """Open ground: park, meadow, beach, yard, with trees, people and animals."""
    random = scene.random
    height = eye_height(random) if random.random() < 0.85 else random.uniform(2.5, 9)
    roll, view = lens(random)
    pitch = random.gauss(-0.1, 0.12) if random.random() < 0.8 else random.uniform(-0.7, 0.25)
    scene.camera = Camera((0.0, 0.0, height), random.gauss(0, 0.1), pitch, roll, view)
    outdoor_light(scene, random.uniform(8, 18))
    kind = random.choice(["grass", "grass", "grass", "litter", "sand", "paving", "asphalt"])
    ground_plane(scene, kind)
    if random.random() < 0.4:
        path = WORLD.at(random.gauss(0, 2), 0, 0, yaw=random.gauss(0, 0.9))
        scene.box(
            path,
            (0, 0, -0.48),
            (random.uniform(1, 4), 200, 1.0),
            m.soil(scene, random.choice(["sand", "paving", "asphalt", "litter"])),
        )
    for _ in range(random.choice([0, 0, 2, 4])):
        wide = random.uniform(8, 40)
        mound = (random.gauss(0, 20), random.uniform(8, 60), -0.2)
        scene.ellipsoid(
            WORLD,
            mound,
            (wide, wide, wide * random.uniform(0.03, 0.15)),
            m.soil(scene, "grass" if kind != "sand" else "sand"),
        )

    def somewhere(nearest: float, farthest: float):
        y = nearest * (farthest / nearest) ** random.random()
        return WORLD.at(random.uniform(-0.6, 0.6) * y + random.gauss(0, 0.5), y, 0, yaw=random.uniform(-3.2, 3.2))

    leaves, style = m.leaf_colour(random), random.choice([None, None, "leafy", "bare", "conifer"])
    for _ in range(random.randint(0, 9)):
        o.tree(
            scene,
            somewhere(4, 60),
            random.uniform(3, 12),
            style=style,
            colour=leaves if random.random() < 0.7 else None,
        )
    for _ in range(random.choice([0, 1, 3, 6])):
        o.bush(scene, somewhere(2.5, 30), random.uniform(0.4, 1.8))
    for _ in range(random.choice([0, 0, 1, 2, 5])):
        o.person(scene, somewhere(2, 25))
    size = random.choice([0.4, 0.8, 1.6, 2.5])
    for _ in range(random.choice([0, 0, 0, 1, 4])):
        o.animal(scene, somewhere(1.5 + size, 20), size)
    for _ in range(random.choice([0, 0, 1, 3])):
        random.choice(
            [
                o.bench,
                o.sign,
                o.bin_,
                lambda s, p: o.rock(s, p, random.uniform(0.3, 2)),
                lambda s, p: o.street_lamp(s, p, 5),
            ]
        )(scene, somewhere(3, 25))
    if kind in ("grass", "litter") and random.random() < 0.6:
        o.tufts(scene, WORLD.at(0, 4.5), 7, 7, random.randint(5, 25))
    if random.random() < 0.3:
        o.fence(scene, WORLD.at(-12, random.uniform(5, 20), 0, yaw=random.gauss(0, 0.2)), 24, random.uniform(0.8, 1.6))
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        o.car(scene, somewhere(6, 30))
    for _ in range(random.choice([0, 0, 1, 2])):
        place = somewhere(15, 60)
        o.house(
            scene,
            WORLD.at(place.origin[0], place.origin[1], 0, yaw=random.gauss(0, 0.5)),
            random.uniform(7, 14),
            random.uniform(7, 10),
            random.uniform(3, 7),
        )
    backdrop(scene, random.uniform(50, 200))
    scene.clear_view(0.5)


def facade(scene: Scene) -> None:
    """The front of a building or a wall from near by, with what stands before it."""
    random = scene.random
    distance, turn = random.uniform(3, 22), random.gauss(0, 0.45)
    roll, view = lens(random)
    height = eye_height(random)
    scene.camera = Camera((0.0, 0.0, height), 0.0, random.gauss(0.03, 0.1), roll, view)
    outdoor_light(scene, max(4.0, distance * 0.8))
    ground_plane(scene, random.choice(["paving", "asphalt", "grass", "litter"]))
    scene.box(
        WORLD,
        (0, distance * random.uniform(0.3, 0.9), -0.48),
        (60, distance * 0.35, 1.0),
        m.soil(scene, random.choice(["paving", "grass", "sand"])),
    )
    front = WORLD.at(0, distance, 0, yaw=turn)
    wall, tall = m.masonry(scene), random.uniform(3, 14)
    if random.random() < 0.4:  # an opening that leads inside
        wide, high = random.uniform(1.2, 3), random.uniform(2.2, 3)
        x = random.uniform(-3, 3)
        wall_with_openings(scene, front, 40, tall, [(x, x + wide, 0.0, high)], wall)
        inner = front.at(x + wide / 2, random.uniform(1, 5))
        scene.box(
            inner,
            (0, 0.5, high / 2),
            (wide * 3, 0.1, high * 1.5),
            m.surface(scene, "panels", m.wood_colour(random), repeat=0.0),
        )
    else:
        scene.box(front, (0, 4, tall / 2), (40, 8, tall), wall)
        if random.random() < 0.75:
            o.windows(
                scene,
                front,
                26,
                tall,
                m.glass(scene),
                m.paint(scene, (0.1, 0.08, random.choice([0.9, 0.6, 0.25]))),
                door=True,
            )
    stone = m.masonry(scene)
    if random.random() < 0.35:
        for i in range(6):
            scene.box(front, ((i - 2.5) * 4.2, -0.15, tall / 2), (0.7, 0.5, tall), stone)
    if random.random() < 0.3:
        for i in range(random.randint(3, 8)):
            step_depth = 0.32
            scene.box(front, (2, -1.5 + i * step_depth, 0.08 * (i + 1)), (3.5, step_depth, 0.16 * (i + 1)), stone)
    if random.random() < 0.3:
        other = WORLD.at(random.choice([-1, 1]) * random.uniform(2.5, 5), distance * 0.4, 0, yaw=random.gauss(0, 0.1))
        with scene.one_object():
            scene.box(other, (0, 0, tall * 0.4), (1.0, distance * 0.7, tall * 0.8), m.masonry(scene))

    def before(lowest: float = 0.3):
        part = random.uniform(lowest, 0.95)
        return WORLD.at(
            random.uniform(-0.5, 0.5) * distance * part, distance * part - 0.4, 0, yaw=random.uniform(-3, 3)
        )

    for _ in range(random.choice([0, 1, 2, 3])):
        o.tree(scene, before(0.35), random.uniform(3, 9))
    for _ in range(random.choice([0, 1, 3, 5])):
        o.bush(scene, front.at(random.gauss(0, 3), -random.uniform(0.3, 0.9)), random.uniform(0.4, 1.3))
    for _ in range(random.choice([0, 0, 1, 2])):
        o.car(scene, before().at(yaw=random.gauss(math.pi / 2, 0.3)))
    for _ in range(random.choice([0, 1, 2, 4])):
        random.choice([o.person, o.person, o.bench, o.sign, o.bin_])(scene, before())
    for _ in range(random.choice([0, 0, 3])):
        plant(scene, front.at(random.gauss(0, 3), -0.4), random.uniform(0.5, 1.2))
    backdrop(scene, 80)
    scene.clear_view(0.6)
