"""Things of streets and gardens, people and animals. Each stands on the origin of its frame, sizes in metres."""

import math

from . import materials as m
from .builder import Frame, Scene, thing


@thing
def person(scene: Scene, frame: Frame, *, height: float | None = None, seated: bool = False) -> None:
    """A figure of limbs, looking towards the frame's -y: standing, walking or sitting on a seat 0.45 m high."""
    random = scene.random
    h = height or random.choice([random.uniform(1.55, 1.9), random.uniform(1.55, 1.9), random.uniform(0.9, 1.4)])
    skin = m.paint(scene, (random.uniform(0.05, 0.08), random.uniform(0.3, 0.55), random.uniform(0.35, 0.9)), gloss=0.1)
    top, trousers, hair = (
        m.textile(scene),
        m.textile(scene),
        m.paint(scene, (0.08, 0.4, random.uniform(0.05, 0.5)), gloss=0.2),
    )
    shoes = m.paint(scene, (0.1, 0.1, random.choice([0.1, 0.2, 0.9])))
    step = random.gauss(0, 0.12) * h
    hip = 0.5 if seated else 0.5 * h
    for sx in (-1, 1):
        x, swing = sx * 0.055 * h, step * sx
        if seated:
            knee, foot = (x, -0.27 * h, hip), (x, -0.26 * h, 0.04)
        else:
            knee, foot = (x, -abs(swing) * 0.3 + swing * 0.4, 0.27 * h), (x, swing, 0.03 * h)
        scene.limb(frame, (x, 0, hip), knee, 0.05 * h, trousers)
        scene.limb(frame, knee, foot, 0.035 * h, trousers)
        scene.ellipsoid(frame, (foot[0], foot[1] - 0.03 * h, 0.025 * h), (0.05 * h, 0.14 * h, 0.05 * h), shoes)
        shoulder = (sx * 0.11 * h, 0, hip + 0.31 * h)
        raised = random.random() < 0.2
        elbow = (sx * random.uniform(0.14, 0.2) * h, -swing * 0.5, hip + (0.3 if raised else 0.14) * h)
        hand = (sx * 0.15 * h, -swing - 0.1 * h * random.random(), hip + (0.45 if raised else 0.01) * h)
        scene.limb(frame, shoulder, elbow, 0.03 * h, top)
        scene.limb(frame, elbow, hand, 0.024 * h, skin if random.random() < 0.6 else top)
        scene.ellipsoid(frame, hand, (0.045 * h, 0.045 * h, 0.06 * h), skin)
    scene.ellipsoid(frame, (0, 0, hip + 0.02 * h), (0.19 * h, 0.13 * h, 0.15 * h), trousers)
    scene.ellipsoid(frame, (0, 0, hip + 0.18 * h), (0.21 * h, 0.14 * h, 0.36 * h), top)
    scene.ellipsoid(frame, (0, 0, hip + 0.3 * h), (0.25 * h, 0.12 * h, 0.1 * h), top)
    scene.rod(frame, (0, 0, hip + 0.32 * h), (0, 0, hip + 0.4 * h), 0.03 * h, skin)
    scene.ellipsoid(frame, (0, -0.005 * h, hip + 0.425 * h), (0.09 * h, 0.11 * h, 0.13 * h), skin)
    long = random.choice([0.0, 0.0, 0.04])
    scene.ellipsoid(frame, (0, 0.015 * h, hip + (0.445 - long) * h), (0.1 * h, 0.105 * h, (0.11 + 2 * long) * h), hair)


@thing
def animal(scene: Scene, frame: Frame, length: float | None = None) -> None:
    """A four-legged animal from cat to elephant, looking towards +x."""
    random = scene.random
    s = length or random.choice([0.4, 0.7, 1.6, 2.4])
    colour = random.choice([(0.08, 0.4, 0.5), (0.1, 0.15, 0.8), (0.08, 0.1, 0.2), (0.07, 0.5, 0.35), (0.1, 0.05, 0.45)])
    fur = m.surface(
        scene,
        random.choice(["fur", "fur", "spots", "plaster"]),
        colour,
        *m.shades(colour, 0.6, 1.5),
        repeat=0.8 * s,
        gloss=0.0,
    )
    tall = s * random.uniform(0.3, 0.6)
    scene.ellipsoid(frame, (0, 0, tall + 0.15 * s), (s, 0.36 * s, 0.42 * s), fur)
    for x in (-0.32, 0.32):
        for y in (-0.1, 0.1):
            scene.limb(
                frame, (x * s, y * s, tall + 0.1 * s), ((x + random.gauss(0, 0.05)) * s, y * s, 0.02 * s), 0.06 * s, fur
            )
    neck = random.uniform(0.1, 0.35) * s
    head = (0.62 * s, 0, tall + 0.25 * s + neck)
    scene.limb(frame, (0.38 * s, 0, tall + 0.2 * s), head, 0.11 * s, fur)
    scene.ellipsoid(frame, head, (0.3 * s, 0.2 * s, 0.22 * s), fur)
    scene.ellipsoid(frame, (head[0] + 0.15 * s, 0, head[2] - 0.04 * s), (0.18 * s, 0.11 * s, 0.11 * s), fur)
    for sy in (-1, 1):
        scene.ellipsoid(
            frame, (head[0] - 0.05 * s, sy * 0.09 * s, head[2] + 0.1 * s), (0.03 * s, 0.07 * s, 0.14 * s), fur
        )
    scene.rod(
        frame, (-0.48 * s, 0, tall + 0.25 * s), (-0.75 * s, 0, tall + random.uniform(-0.1, 0.5) * s), 0.03 * s, fur
    )


@thing
def tree(
    scene: Scene, frame: Frame, height: float, *, style: str | None = None, colour: m.Vector | None = None
) -> None:
    """A leafy, bare or conifer tree."""
    random = scene.random
    style = style or random.choice(["leafy", "leafy", "leafy", "bare", "conifer"])
    wood, radius = m.bark(scene), height * random.uniform(0.015, 0.04)
    lean = (random.gauss(0, 0.02) * height, random.gauss(0, 0.02) * height)
    if style == "conifer":
        leaf = m.foliage(scene, repeat=height * 0.25, colour=colour or (0.33, 0.35, random.uniform(0.15, 0.35)))
        scene.cylinder(frame, (0, 0, 0), radius, height * 0.3, wood)
        for i in range(4):
            wide = height * (0.24 - 0.05 * i)
            scene.ellipsoid(
                frame, (0, 0, height * (0.28 + 0.2 * i)), (2 * wide, 2 * wide, height * 0.36), leaf, leafy=True
            )
        return
    fork = height * random.uniform(0.25, 0.5)
    scene.rod(frame, (0, 0, -0.2), (*lean, fork), radius, wood, end_radius=radius * 0.75)
    scene.rod(
        frame, (*lean, fork), (lean[0] * 2, lean[1] * 2, height * 0.8), radius * 0.75, wood, end_radius=radius * 0.25
    )
    colour = colour or m.leaf_colour(random)
    leaf = m.foliage(scene, repeat=height * random.uniform(0.12, 0.3), colour=colour)
    ragged, bough = random.random() < 0.65, m.foliage(scene, "crown", colour=colour)
    twig = m.surface(scene, "twigs", (0.08, 0.2, 0.3), repeat=0.0)
    spread = height * random.uniform(0.18, 0.3)
    for i in range(random.randint(6, 10)):
        angle, reach = i * 2.4 + random.random(), spread * random.uniform(0.5, 1.1)
        tip = (
            lean[0] + reach * math.cos(angle),
            lean[1] + reach * math.sin(angle),
            fork + (height - fork) * random.uniform(0.3, 0.8),
        )
        scene.rod(frame, (*lean, fork * random.uniform(0.85, 1.15)), tip, radius * 0.45, wood, end_radius=radius * 0.12)
        if style == "leafy":
            size = spread * random.uniform(0.6, 1.3)
            if ragged:  # boughs with a ragged outline around smaller balls
                for turn in (0.0, 1.6):
                    scene.card(
                        frame.at(*tip, yaw=angle + turn).tilted(pitch=random.gauss(0, 0.3)),
                        (0, 0, 0),
                        (size * 1.7, size * 1.5),
                        bough,
                    )
                size *= 0.7
            scene.ellipsoid(frame, tip, (size, size, size * random.uniform(0.6, 0.9)), leaf, leafy=True)
        else:
            place = frame.at(*tip, yaw=angle).tilted(pitch=random.gauss(0, 0.4), roll=random.gauss(0, 0.5))
            scene.card(place, (0, 0, 0.1 * height), (spread * 1.6, spread * 1.6), twig)
    if style == "leafy":
        if ragged:
            for i in range(3):
                scene.card(
                    frame.at(*lean, height * 0.82, yaw=i * 1.05), (0, 0, 0), (spread * 2.2, height * 0.42), bough
                )
        scene.ellipsoid(
            frame, (lean[0], lean[1], height * 0.8), (spread * 1.4, spread * 1.4, height * 0.32), leaf, leafy=True
        )


@thing
def bush(scene: Scene, frame: Frame, size: float) -> None:
    """Some leafy balls on the ground, or tufts of long leaves."""
    random = scene.random
    if random.random() < 0.3:
        leaf = m.foliage(scene, random.choice(["fronds", "tuft", "twigs"]))
        for i in range(3):
            scene.card(frame.at(yaw=i * 1.05 + random.random()), (0, 0, size / 2), (size * 1.2, size), leaf)
        return
    colour = m.leaf_colour(random)
    leaf, bough = (
        m.foliage(scene, repeat=random.uniform(0.3, 0.7), colour=colour),
        m.foliage(scene, "crown", colour=colour),
    )
    for _ in range(random.randint(2, 4)):
        scene.card(
            frame.at(random.gauss(0, 0.25) * size, 0, size * 0.4, yaw=random.uniform(0, 3)),
            (0, 0, 0),
            (size * 1.3, size),
            bough,
        )
        s = size * random.uniform(0.6, 1.0)
        place = (random.gauss(0, 0.3) * size, random.gauss(0, 0.3) * size, s * 0.35)
        scene.ellipsoid(frame, place, (s, s, s * 0.9), leaf, leafy=True)


def tufts(scene: Scene, frame: Frame, width: float, depth: float, count: int) -> None:
    """Grass and weeds as cards, spread over a rectangle."""
    random = scene.random
    leaf = m.foliage(
        scene, "tuft", colour=(random.uniform(0.12, 0.28), random.uniform(0.25, 0.55), random.uniform(0.3, 0.6))
    )
    size = random.uniform(0.1, 0.5)
    for _ in range(count):
        s = size * random.uniform(0.6, 1.4)
        x, y = random.uniform(-width / 2, width / 2), random.uniform(-depth / 2, depth / 2)
        with scene.one_object():
            scene.card(frame.at(x, y, 0, yaw=random.uniform(-0.8, 0.8)), (0, 0, s * 0.45), (s * 1.5, s), leaf)


@thing
def car(scene: Scene, frame: Frame, *, style: str | None = None) -> None:
    """A car, van or lorry along the frame's y axis."""
    random = scene.random
    style = style or random.choice(["car", "car", "car", "van", "lorry"])
    colour = random.choice(
        [(0, 0, 0.95), (0, 0, 0.6), (0, 0, 0.35), (0, 0, 0.1), (0.6, 0.5, 0.35), (0.0, 0.75, 0.5), m.any_colour(random)]
    )
    body, pane, tyre = m.paint(scene, colour, gloss=0.7), m.glass(scene), m.paint(scene, (0, 0, 0.08), gloss=0.1)
    length, width = (random.uniform(3.8, 4.7), 1.75) if style == "car" else (random.uniform(4.8, 6.5), 2.0)
    if style == "car":
        scene.box(frame, (0, 0, 0.55), (width, length * 0.98, 0.5), body)
        scene.ellipsoid(frame, (0, 0, 0.65), (width * 1.05, length * 1.04, 0.62), body)
        roof, back = random.uniform(1.4, 1.65), random.uniform(0.0, 0.5)
        cabin = frame.at(0, back, 0)
        scene.ellipsoid(cabin, (0, 0, 0.8), (width * 0.98, length * 0.66, 2 * (roof - 0.85)), pane)
        scene.ellipsoid(cabin, (0, 0, 0.85), (width * 0.9, length * 0.5, 2 * (roof - 0.84)), body)
        for sx in (-1, 1):
            scene.box(cabin, (sx * width * 0.43, 0, 0.98), (0.06, length * 0.4, 0.28), pane)
    else:
        tall = 2.0 if style == "van" else 3.0
        scene.box(frame, (0, 0.4, tall / 2 + 0.2), (width, length - 0.8, tall - 0.4), body)
        scene.box(frame, (0, -length / 2 + 0.3, 0.85), (width * 0.97, 1.4, 0.9), body)
        scene.box(frame.at(0, -length / 2 + 0.55, 1.4).tilted(pitch=-0.4), (0, 0, 0), (width * 0.9, 0.7, 0.75), pane)
        for sx in (-1, 1):
            scene.box(frame, (sx * width * 0.5, -length * 0.27, 1.45), (0.03, length * 0.2, 0.5), pane)
    for sy in (-1, 1):
        lamp = m.paint(scene, (0.1, 0.05, 0.95) if sy < 0 else (0.0, 0.8, 0.5), gloss=0.8)
        for sx in (-1, 1):
            x, y = sx * (width / 2 - 0.09), sy * length * 0.31
            scene.rod(frame, (x - sx * 0.1, y, 0.32), (x + sx * 0.1, y, 0.32), 0.32, tyre)
            scene.rod(frame, (x, y, 0.32), (x + sx * 0.115, y, 0.32), 0.19, m.metal(scene))
            scene.box(frame, (sx * width * 0.36, sy * length * 0.49, 0.68), (0.3, 0.16, 0.13), lamp)
        scene.box(frame, (0, sy * length * 0.505, 0.42), (width * 0.9, 0.12, 0.18), tyre)


@thing
def fence(scene: Scene, frame: Frame, length: float, height: float) -> None:
    """A fence along the frame's x axis: rails, palings, wire or railing."""
    random = scene.random
    material = m.metal(scene) if random.random() < 0.4 else m.wood(scene)
    gap = random.uniform(1.5, 2.5)
    posts = int(length / gap) + 1
    for i in range(min(posts, 14)):
        scene.box(frame, (i * gap, 0, height / 2), (0.08, 0.08, height), material)
    if random.random() < 0.5:
        sheet = m.surface(scene, "mesh", random.choice([(0, 0, 0.2), (0.1, 0.05, 0.8), (0.08, 0.4, 0.4)]), repeat=0.0)
        for i in range(min(posts - 1, 13)):
            scene.card(frame, ((i + 0.5) * gap, 0, height / 2), (gap, height), sheet)
    else:
        for z in (0.35, 0.8) if random.random() < 0.6 else (0.3, 0.55, 0.85):
            scene.box(frame, (length / 2, 0, height * z), (length, 0.04, 0.1), material)


@thing
def street_lamp(scene: Scene, frame: Frame, height: float) -> None:
    """A mast with an arm along +x."""
    metal = m.metal(scene)
    scene.rod(frame, (0, 0, 0), (0, 0, height), 0.08, metal, end_radius=0.05)
    scene.rod(frame, (0, 0, height - 0.1), (1.2, 0, height), 0.04, metal)
    scene.box(frame, (1.3, 0, height - 0.03), (0.6, 0.2, 0.1), metal)


@thing
def sign(scene: Scene, frame: Frame) -> None:
    """A traffic sign or a board on a pole."""
    random = scene.random
    pole, height = m.metal(scene), random.uniform(1.8, 2.6)
    scene.cylinder(frame, (0, 0, 0), 0.035, height, pole)
    front = m.printed(scene) if random.random() < 0.6 else m.paint(scene, (random.choice([0.0, 0.6, 0.14]), 0.7, 0.7))
    if random.random() < 0.5:
        scene.rod(frame, (0, -0.06, height - 0.3), (0, -0.04, height - 0.3), 0.32, front)
    else:
        scene.box(frame, (0, -0.05, height - 0.25), (random.uniform(0.4, 0.9), 0.02, random.uniform(0.4, 0.7)), front)


@thing
def bench(scene: Scene, frame: Frame) -> None:
    """A park bench."""
    seat, leg = m.wood(scene), m.metal(scene)
    for i in range(3):
        scene.box(frame, (0, -0.15 + 0.15 * i, 0.45), (1.6, 0.12, 0.04), seat)
    for z in (0.65, 0.82):
        scene.box(frame.at(0, 0.26, z).tilted(pitch=0.15), (0, 0, 0), (1.6, 0.03, 0.12), seat)
    for sx in (-0.65, 0.65):
        scene.box(frame, (sx, 0, 0.22), (0.06, 0.4, 0.44), leg)
        scene.box(frame, (sx, 0.27, 0.65), (0.05, 0.05, 0.5), leg)


@thing
def bin_(scene: Scene, frame: Frame) -> None:
    """A waste basket or a wheeled bin."""
    body = m.paint(scene)
    if scene.random.random() < 0.5:
        scene.cylinder(frame, (0, 0, 0), 0.22, 0.8, body, top_radius=0.28)
    else:
        scene.box(frame, (0, 0, 0.55), (0.58, 0.6, 1.0), body)
        scene.box(frame.at(0, 0, 1.08).tilted(pitch=0.1), (0, 0, 0), (0.6, 0.66, 0.08), body)


@thing
def rock(scene: Scene, frame: Frame, size: float) -> None:
    """A boulder of several ellipsoids."""
    random = scene.random
    grey = (0.1, random.uniform(0.05, 0.25), random.uniform(0.3, 0.65))
    stone = m.surface(scene, "concrete", grey, *m.shades(grey, 0.8, 0.6), repeat=size * 1.5, gloss=0.0)
    for _ in range(3):
        place = frame.at(random.gauss(0, 0.2) * size, random.gauss(0, 0.2) * size, size * 0.2, yaw=random.uniform(0, 3))
        part = tuple(size * random.uniform(0.5, 1.0) for _ in range(3))
        scene.ellipsoid(place.tilted(pitch=random.gauss(0, 0.4), roll=random.gauss(0, 0.4)), (0, 0, 0), part, stone)


@thing
def house(scene: Scene, frame: Frame, width: float, depth: float, height: float) -> None:
    """A free-standing house with a pitched or flat roof; its front with real recesses faces -y."""
    random = scene.random
    wall, pane, trim = m.masonry(scene), m.glass(scene), m.paint(scene, (0.1, 0.05, random.choice([0.9, 0.3])))
    scene.box(frame, (0, 0, height / 2), (width, depth, height), wall)
    windows(scene, frame.at(0, -depth / 2), width, height, pane, trim, door=True)
    if random.random() < 0.7:
        roof = m.surface(
            scene,
            "bricks",
            (random.choice([0.02, 0.6]), random.uniform(0.1, 0.5), random.uniform(0.25, 0.5)),
            repeat=2.0,
            gloss=0.0,
        )
        rise, slope = random.uniform(0.5, 0.9), width / 2 + 0.4
        for sx in (-1, 1):
            place = frame.at(sx * slope / 2, 0, height + slope * rise / 2 - 0.2).tilted(roll=sx * math.atan(rise))
            scene.box(place, (0, 0, 0), (math.hypot(slope, slope * rise), depth + 0.8, 0.15), roof)
        for i in range(6):  # the gable, as steps behind the edge of the roof
            z = slope * rise * (i + 0.5) / 6
            scene.box(
                frame, (0, 0, height + z - 0.3), (2 * (slope - z / rise) - 0.6, depth, slope * rise / 6 + 0.02), wall
            )
        scene.box(frame, (width * 0.25, 0, height + slope * rise * 0.7), (0.6, 0.6, 1.6), wall)


def windows(
    scene: Scene, frame: Frame, width: float, height: float, pane: int, trim: int, *, door: bool = False
) -> None:
    """Rows of windows on a wall in the frame's x-z plane that faces -y: panes with frames, ledges and a door below."""
    random = scene.random
    storey, gap = random.uniform(2.7, 3.4), random.uniform(1.8, 3.2)
    columns, rows = max(1, int(width / gap)), max(1, int(height / storey))
    wide, tall = gap * random.uniform(0.4, 0.65), storey * random.uniform(0.4, 0.6)
    middle = random.randrange(columns) if door else -1
    for i in range(min(columns, 8)):
        x = (i + 0.5 - columns / 2) * width / columns
        for j in range(min(rows, 5)):
            if j == 0 and i == middle:
                scene.box(frame, (x, -0.02, 1.1), (1.15, 0.12, 2.2), trim)
                scene.box(
                    frame,
                    (x, -0.05, 1.05),
                    (0.95, 0.1, 2.05),
                    m.surface(scene, "panels", m.any_colour(random), repeat=0.0),
                )
                continue
            z = storey * (j + 0.55)
            scene.box(frame, (x, 0, z), (wide + 0.16, 0.14, tall + 0.16), trim)
            scene.box(frame, (x, -0.045, z), (wide, 0.07, tall), pane)
            scene.box(frame, (x, -0.05, z), (0.06, 0.08, tall), trim)
            scene.box(frame, (x, -0.1, z - tall / 2 - 0.1), (wide + 0.3, 0.25, 0.07), trim)
