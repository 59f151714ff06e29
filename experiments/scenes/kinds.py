"""All kinds of scenes, and the scene of a seed."""

from random import Random

from .builder import Scene
from .effects import Sensor
from .layouts import corridor, hall, room
from .near_layouts import closeup, tabletop
from .open_layouts import facade, ground
from .street import street

LAYOUTS = {  # kind: (layout, weight)
    "room": (room, 0.24),
    "corridor": (corridor, 0.06),
    "hall": (hall, 0.10),
    "tabletop": (tabletop, 0.14),
    "closeup": (closeup, 0.10),
    "street": (street, 0.14),
    "ground": (ground, 0.12),
    "facade": (facade, 0.10),
}
KINDS = tuple(LAYOUTS)


def make_scene(seed: int, kinds: tuple[str, ...] | None = None) -> Scene:
    """The scene of a seed: its kind (one of `kinds`, or of all by their weights), solids, lights and camera."""
    random = Random(seed)
    names = kinds or KINDS
    kind = random.choices(names, [LAYOUTS[name][1] for name in names])[0]
    for _ in range(4):  # a camera that looks at nothing is rare among photographs
        scene = Scene(kind, random)
        LAYOUTS[kind][0](scene)
        if scene.things_in_view(40.0) >= random.choice([0, 2, 3, 3]):
            break
    scene.cloud_shift, scene.sensor = random.random(), Sensor.draw(random)
    return scene
