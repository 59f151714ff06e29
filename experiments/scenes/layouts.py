"""Whole scenes indoors: rooms, corridors, halls with rows of seats, tabletops, things from close by."""

import math
from random import Random

from . import furniture as f
from . import materials as m
from . import small_things as t
from .builder import Camera, Frame, Scene
from .outdoors import animal, person
from .rooms import WORLD, hang, indoor_light, shell


def eye_height(random: Random) -> float:
    """Mostly a standing person's, sometimes a child's, a robot's or from a ladder."""
    return (
        random.uniform(1.2, 1.75)
        if random.random() < 0.7
        else random.choice([random.uniform(0.4, 1.2), random.uniform(1.75, 2.4)])
    )


def lens(random: Random) -> tuple[float, float]:
    """Roll and diagonal field of view in radians."""
    roll = random.gauss(0, 0.02) if random.random() < 0.8 else random.gauss(0, 0.12)
    return roll, math.radians(random.uniform(58, 85) if random.random() < 0.8 else random.uniform(38, 100))


def furnish(scene: Scene, wall: tuple[Frame, float, list], style: str) -> None:
    """Furniture along a wall, one thing beside the other."""
    random = scene.random
    frame, length, openings = wall
    x = -length / 2 + random.uniform(0.1, 0.8)
    choices = {
        "living": ["sofa", "sofa", "shelf", "cabinet", "plant", "lamp", "tv", "chair", "gap"],
        "bedroom": ["bed", "cabinet", "cabinet", "desk", "chair", "lamp", "gap", "wardrobe"],
        "office": ["desk", "desk", "shelf", "shelf", "cabinet", "plant", "gap", "wardrobe"],
        "kitchen": ["counter", "counter", "counter", "table", "wardrobe", "plant", "gap"],
    }[style]
    while x < length / 2 - 0.7:
        kind = random.choice(choices)
        room = length / 2 - 0.1 - x
        wide = {
            "sofa": random.choice([0.9, 1.7, 2.2]),
            "shelf": random.uniform(0.6, 1.6),
            "desk": random.uniform(1.2, 1.8),
            "counter": random.uniform(1.2, 2.4),
            "bed": 1.8,
            "plant": 0.6,
            "lamp": 0.5,
            "chair": 0.6,
            "table": 1.2,
            "tv": 1.6,
        }.get(kind, random.uniform(0.6, 1.4))
        if wide > room:
            break
        blocked = any(left - 0.2 < x + wide and right + 0.2 > x and bottom < 0.2 for left, right, bottom, _ in openings)
        place = frame.at(x + wide / 2, 0)
        if blocked or kind == "gap":
            pass
        elif kind == "sofa":
            f.sofa(scene, place.at(0, -0.5), wide)
        elif kind == "shelf":
            f.shelf(scene, place.at(0, -0.17), wide - 0.05, random.uniform(0.8, 2.1))
        elif kind in ("cabinet", "wardrobe", "counter", "tv"):
            height = {"wardrobe": random.uniform(1.7, 2.1), "counter": 0.9, "tv": 0.5}.get(
                kind, random.uniform(0.5, 1.2)
            )
            with scene.one_object():
                f.cabinet(scene, place.at(0, -0.27), wide - 0.05, 0.5, height)
                if kind == "counter":
                    f.cabinet(scene, place.at(0, -0.19, 1.45), wide - 0.05, 0.34, 0.7)
                if kind == "tv":
                    t.screen(scene, place.at(0, -0.25, 0.51), random.uniform(0.7, 1.2))
        elif kind == "bed":
            f.bed(scene, place.at(0, -1.1))
        elif kind in ("desk", "table"):
            with scene.one_object():
                f.table(scene, place.at(0, -0.4), wide, 0.75, 0.74, style=random.choice(["legs", "panels"]))
                t.desk_things(scene, place.at(0, -0.4, 0.74), wide, 0.7)
            f.chair(
                scene,
                place.at(random.gauss(0, 0.2), -1.05, yaw=math.pi + random.gauss(0, 0.5)),
                style="office" if random.random() < 0.6 else None,
            )
        elif kind == "plant":
            t.plant(scene, place.at(0, -0.35), random.uniform(0.6, 1.8))
        elif kind == "lamp":
            t.lamp(scene, place.at(0, -0.3), random.uniform(1.2, 1.8))
        elif kind == "chair":
            f.chair(scene, place.at(0, -0.4, yaw=random.gauss(0, 0.4)))
        x += wide + random.triangular(0.0, 0.6, 0.0)


def table_with_chairs(scene: Scene, frame: Frame, *, things: int | None = None) -> None:
    """A table, chairs of one look around it, and things on it."""
    random = scene.random
    width, depth, height = random.uniform(0.8, 2.0), random.uniform(0.7, 1.0), random.uniform(0.7, 0.78)
    with scene.one_object():
        f.table(scene, frame, width, depth, height)
        t.spread_things(
            scene, frame.at(0, 0, height), width * 0.8, depth * 0.75, random.randint(0, 6) if things is None else things
        )
    look = f.chair_look(scene)
    style = random.choice(["wood", "slats", "shell", "stool", "arms", "office"])
    for side in (0, 1):
        for i in range(max(1, int(width / 0.65))):
            if random.random() < 0.75:
                x = (i + 0.5) * width / max(1, int(width / 0.65)) - width / 2
                turned = frame.at(yaw=side * math.pi)
                pulled = random.uniform(-0.1, 0.4)
                f.chair(scene, turned.at(x, depth / 2 + pulled + 0.1, yaw=random.gauss(0, 0.3)), look=look, style=style)


def free_place(scene: Scene, width: float, depth: float, radius: float) -> Frame | None:
    """A frame on the floor of a room of this size, turned any way, where nothing stands yet; None if none is found."""
    for _ in range(6):
        x, y = scene.random.uniform(-0.42, 0.42) * width, scene.random.uniform(-0.42, 0.42) * depth
        if scene.is_free(x, y, radius):
            return WORLD.at(x, y, 0, yaw=scene.random.uniform(-3.2, 3.2))
    return None


def room(scene: Scene) -> None:
    """A living room, bedroom, office or kitchen."""
    random = scene.random
    width, depth, height = random.triangular(2.6, 8, 4), random.triangular(2.6, 8, 4.5), random.uniform(2.3, 3.0)
    style = random.choice(["living", "bedroom", "office", "kitchen"])
    walls = shell(scene, width, depth, height)
    indoor_light(scene, width, depth, height)
    for wall in walls:
        furnish(scene, wall, style)
        hang(scene, wall)
    middle = WORLD.at(
        random.gauss(0, 0.12) * width,
        random.gauss(0, 0.12) * depth,
        0,
        yaw=random.choice([0, math.pi / 2]) + random.gauss(0, 0.15),
    )
    if random.random() < 0.4:
        rug = m.surface(
            scene, "rug", m.any_colour(random), m.any_colour(random), m.any_colour(random), repeat=0.0, gloss=0.0
        )
        with scene.one_object():
            scene.box(middle, (0, 0, 0.006), (random.uniform(1.4, 2.6), random.uniform(1, 2), 0.012), rug)
    if style == "living":
        with scene.one_object():
            top = random.uniform(0.38, 0.5)
            f.table(scene, middle, random.uniform(0.7, 1.2), random.uniform(0.5, 0.7), top)
            t.spread_things(scene, middle.at(0, 0, top), 0.5, 0.4, random.randint(0, 5), largest=0.2)
    elif style != "bedroom" and random.random() < 0.8 and scene.is_free(*middle.origin[:2], 0.5):
        table_with_chairs(scene, middle)
    for put, count, radius in (
        (lambda place: t.small_thing(scene, place, largest=random.uniform(0.3, 0.6)), random.randint(0, 4), 0.2),
        (lambda place: f.chair(scene, place), random.choice([0, 0, 1, 2]), 0.35),
        (lambda place: t.plant(scene, place, random.uniform(0.5, 1.5)), random.choice([0, 0, 1]), 0.3),
        (lambda place: person(scene, place), random.choice([0, 0, 0, 0, 1, 2]), 0.3),
        (lambda place: animal(scene, place, random.uniform(0.35, 0.8)), random.choice([0] * 8 + [1]), 0.4),
    ):
        for _ in range(count):
            place = free_place(scene, width, depth, radius)
            if place:
                put(place)
    angle, reach = random.uniform(-math.pi, math.pi), random.uniform(0.25, 0.47)
    position = (width * reach * math.sin(angle), depth * reach * math.cos(angle), min(eye_height(random), height - 0.2))
    target = (random.gauss(0, 0.15) * width, random.gauss(0, 0.15) * depth, random.uniform(0.0, 1.3))
    roll, view = lens(random)
    scene.camera = Camera.towards(position, target, roll=roll, diagonal_view=view)
    scene.clear_view(random.uniform(0.25, 0.6))


def corridor(scene: Scene) -> None:
    """A long narrow room with doors, lamps and sometimes stairs at its end."""
    random = scene.random
    width, depth, height = random.uniform(1.3, 3.5), random.uniform(8, 28), random.uniform(2.3, 3.5)
    walls = shell(scene, width, depth, height)
    indoor_light(scene, width, depth, height)
    for wall in walls[1::2]:
        hang(scene, wall)
        frame, length, _ = wall
        for _ in range(random.randint(0, 5)):
            place = frame.at(random.uniform(-0.45, 0.45) * length, -0.25)
            kind = random.random()
            if kind < 0.4 and width > 1.8:
                f.cabinet(scene, place, random.uniform(0.5, 1.5), 0.35, random.uniform(0.5, 2.0))
            elif kind < 0.7:
                f.chair(scene, place)
            else:
                t.plant(scene, place, random.uniform(0.5, 1.6))
    light = m.glowing(scene, (0.15, 0.03, 1.0), random.uniform(1.0, 3.0))
    spacing = random.uniform(1.8, 3.5)
    for i in range(min(12, int(depth / spacing))):
        scene.box(
            WORLD,
            (0, -depth / 2 + (i + 0.5) * spacing, height),
            (random.choice([0.2, 0.6]), 0.6, 0.04),
            light,
            casts=False,
        )
    if random.random() < 0.3:
        step, wide = m.indoor_floor(scene), width
        for i in range(12):
            scene.box(
                WORLD,
                (0, depth * 0.1 + 0.3 * i + 2, 0.085 * (i + 1)),
                (wide, 0.3 + 4 * (i == 11), 0.17 * (i + 1)),
                step,
            )
    for _ in range(random.choice([0, 0, 1, 2])):
        person(
            scene,
            WORLD.at(random.gauss(0, 0.2) * width, random.uniform(-0.2, 0.45) * depth, 0, yaw=random.uniform(-3, 3)),
        )
    position = (
        random.uniform(-0.3, 0.3) * width,
        -depth / 2 + random.uniform(0.3, 2.0),
        min(eye_height(random), height - 0.2),
    )
    target = (random.gauss(0, 0.2) * width, random.uniform(-0.2, 0.4) * depth, random.uniform(0.6, 1.6))
    roll, view = lens(random)
    scene.camera = Camera.towards(position, target, roll=roll, diagonal_view=view)
    scene.clear_view(0.4)


def hall(scene: Scene) -> None:
    """Rows of alike things in a large room: seats of an auditorium, tables of a cafe, racks of a shop."""
    random = scene.random
    width, depth, height = random.uniform(8, 18), random.uniform(10, 24), random.uniform(3, 7)
    walls = shell(scene, width, depth, height)
    indoor_light(scene, width, depth, height)
    for wall in walls:
        hang(scene, wall)
    kind = random.choice(["seats", "seats", "cafe", "racks"])
    facing = random.choice([0.0, math.pi])
    rise = random.uniform(0.05, 0.35) if kind == "seats" and random.random() < 0.6 else 0.0
    if kind == "seats":
        body, cover, back, gap = m.paint(scene), m.textile(scene), m.paint(scene), random.uniform(0.55, 0.65)
        rows, columns = random.randint(5, 9), random.randint(6, 12)
        for j in range(rows):
            z = rise * (j if facing == 0.0 else rows - 1 - j)
            y = (j - rows / 2) * 1.0 + 1.5
            if rise and z:
                scene.box(WORLD, (0, y, z / 2), (width, 1.0, z), 0 if j % 2 else body)
            for i in range(columns):
                if i == columns // 2:
                    continue
                with scene.one_object():
                    seat = WORLD.at((i - columns / 2 + 0.5) * gap, y, z, yaw=facing)
                    scene.box(seat, (0, 0, 0.42), (gap * 0.85, 0.45, 0.09), cover)
                    scene.box(seat.at(0, 0.24, 0.72).tilted(pitch=0.15), (0, 0, 0), (gap * 0.85, 0.09, 0.52), cover)
                    scene.box(seat.at(0, 0.29, 0.66).tilted(pitch=0.15), (0, 0, 0), (gap * 0.8, 0.03, 0.5), back)
                    scene.box(seat, (gap * 0.5, 0, 0.35), (0.05, 0.4, 0.6), body)
    elif kind == "cafe":
        for _ in range(random.randint(4, 7)):
            place = WORLD.at(
                random.uniform(-0.4, 0.4) * width,
                random.uniform(-0.3, 0.4) * depth,
                0,
                yaw=random.choice([0, math.pi / 2]),
            )
            table_with_chairs(scene, place, things=random.randint(0, 3))
    else:
        for i in range(random.randint(3, 5)):
            for j in range(2):
                f.shelf(
                    scene,
                    WORLD.at((i - 2) * 2.4, (j - 0.5) * 3.5, 0, yaw=random.choice([-1, 1]) * math.pi / 2),
                    2.5,
                    random.uniform(1.5, 2.2),
                    filled=0.6,
                )
    for _ in range(random.choice([0, 1, 3])):
        person(
            scene,
            WORLD.at(
                random.uniform(-0.4, 0.4) * width, random.uniform(-0.3, 0.4) * depth, 0, yaw=random.uniform(-3, 3)
            ),
        )
    for i in range(random.choice([0, 0, 4])):
        scene.cylinder(
            WORLD, (width * (0.25 if i % 2 else -0.25), depth * (i // 2 - 0.5) * 0.5, 0), 0.22, height, m.wall(scene)
        )
    position = (random.uniform(-0.35, 0.35) * width, -depth * random.uniform(0.05, 0.45), eye_height(random) + rise * 3)
    target = (random.gauss(0, 0.15) * width, random.uniform(-0.1, 0.4) * depth, random.uniform(0.2, 1.6))
    roll, view = lens(random)
    scene.camera = Camera.towards(position, target, roll=roll, diagonal_view=view)
    scene.clear_view(0.5)
