"""Scenes from near by: tables full of things, and one thing that fills the picture."""

import math

from . import furniture as f
from . import materials as m
from . import small_things as t
from .builder import Camera, Scene
from .layouts import furnish, lens
from .outdoors import animal, person
from .rooms import WORLD, hang, indoor_light, shell


def tabletop(scene: Scene) -> None:
    """A table with many things, seen from a standing or sitting person, or straight from above."""
    random = scene.random
    width, depth, height = random.uniform(3, 7), random.uniform(3, 7), 2.6
    walls = shell(scene, width, depth, height)
    indoor_light(scene, width, depth, height)
    for wall in walls:
        hang(scene, wall)
        if random.random() < 0.4:
            furnish(scene, wall, random.choice(["living", "office", "kitchen"]))
    table_width, table_depth, top = (
        random.uniform(0.9, 2.0),
        random.uniform(0.6, 1.0),
        random.choice([0.74, 0.74, 0.45, 0.9]),
    )
    place = WORLD.at(random.gauss(0, 0.3), random.gauss(0, 0.3), 0, yaw=random.uniform(-0.6, 0.6))
    f.table(scene, place, table_width, table_depth, top, style=random.choice(["legs", "panels", "round"]))
    surface = place.at(0, 0, top)
    if random.random() < 0.4:
        t.desk_things(scene, surface, table_width, table_depth)
    t.spread_things(scene, surface, table_width * 0.9, table_depth * 0.85, random.randint(4, 16))
    if random.random() < 0.35:  # a tray, box or crate with things in it
        crate, a, b, c = (
            m.paint(scene),
            random.uniform(0.3, 0.6),
            random.uniform(0.25, 0.45),
            random.uniform(0.03, 0.25),
        )
        with scene.one_object():
            scene.box(surface, (0, 0, 0.005), (a, b, 0.01), crate)
            for s in (-1, 1):
                scene.box(surface, (s * a / 2, 0, c / 2), (0.012, b, c), crate)
                scene.box(surface, (0, s * b / 2, c / 2), (a, 0.012, c), crate)
            t.spread_things(scene, surface.at(0, 0, 0.01), a * 0.8, b * 0.8, random.randint(3, 9), largest=0.15)
    for _ in range(random.randint(0, 3)):
        f.chair(
            scene,
            place.at(
                random.gauss(0, 0.5) * table_width,
                random.choice([-1, 1]) * (table_depth / 2 + 0.3),
                yaw=random.uniform(-3, 3),
            ),
        )
    distance = random.uniform(0.5, 1.9)
    steep = random.uniform(0.25, 0.9) if random.random() < 0.7 else random.uniform(0.9, 1.5)
    angle = random.gauss(0, 0.7) if random.random() < 0.7 else random.uniform(-3.2, 3.2)
    target = surface.point(random.gauss(0, 0.15), random.gauss(0, 0.1), random.uniform(0, 0.15))
    position = (
        target[0] + distance * math.cos(steep) * math.sin(angle),
        target[1] - distance * math.cos(steep) * math.cos(angle),
        min(target[2] + distance * math.sin(steep), height - 0.15),
    )
    roll, view = lens(random)
    scene.camera = Camera.towards(position, target, roll=roll * 2, diagonal_view=view)
    scene.clear_view(0.12)
    scene.contact_radius *= 0.4


def closeup(scene: Scene) -> None:
    """One or few things that fill the picture: on a table, an animal, a person, a plant."""
    random = scene.random
    width, depth, height = random.uniform(3, 9), random.uniform(3, 9), 2.7
    walls = shell(scene, width, depth, height)
    indoor_light(scene, width, depth, height)
    for wall in walls:
        hang(scene, wall)
        if random.random() < 0.6:
            furnish(scene, wall, random.choice(["living", "office", "bedroom"]))
    kind = random.choice(["things", "things", "person", "animal", "plant", "chair"])
    yaw = random.gauss(0, 0.6)
    if kind == "things":
        top, scale = 0.75, random.uniform(0.3, 0.7)
        f.table(scene, WORLD, 1.4, 0.9, top)
        for i in range(random.randint(1, 4)):
            t.small_thing(scene, WORLD.at(random.gauss(0, 0.08), random.gauss(0, 0.08), top))
        middle, distance, rise = top + 0.07, scale, random.uniform(0.1, 0.9)
    elif kind == "person":
        tall = random.uniform(1.5, 1.9)
        person(scene, WORLD.at(yaw=yaw), height=tall)
        middle, distance, rise = random.uniform(0.55, 0.9) * tall, random.uniform(0.8, 2.5), random.gauss(0, 0.15)
    elif kind == "animal":
        size = random.uniform(0.3, 0.9)
        animal(scene, WORLD.at(yaw=random.uniform(-3, 3)), size)
        middle, distance, rise = size * 0.5, random.uniform(0.8, 1.8) * size + 0.2, random.uniform(0, 0.6)
    elif kind == "plant":
        t.plant(scene, WORLD, random.uniform(0.8, 1.6))
        middle, distance, rise = 0.7, random.uniform(0.8, 1.8), random.uniform(0, 0.5)
    else:
        f.chair(scene, WORLD.at(yaw=yaw))
        middle, distance, rise = 0.5, random.uniform(0.9, 1.8), random.uniform(0.2, 0.8)
    angle = random.uniform(-math.pi, math.pi) if kind != "person" else random.gauss(0, 0.5)
    position = (
        distance * math.cos(rise) * math.sin(angle),
        -distance * math.cos(rise) * math.cos(angle),
        middle + distance * math.sin(rise),
    )
    target = (random.gauss(0, 0.08) * distance, random.gauss(0, 0.08) * distance, middle)
    roll, view = lens(random)
    scene.camera = Camera.towards(position, target, roll=roll * 1.5, diagonal_view=view)
    scene.clear_view(0.08)
