"""Plants, lamps, screens and everything that stands on tables and shelves; frames as in furniture.py."""

from . import materials as m
from .builder import Frame, Scene, thing


def screen(scene: Scene, frame: Frame, width: float, *, stand: bool = True) -> None:
    """A monitor or television; its foot is on the frame's origin."""
    random = scene.random
    black, height = m.paint(scene, (0, 0, random.uniform(0.05, 0.15)), gloss=0.5), width * random.uniform(0.56, 0.75)
    lift = 0.12 if stand else 0.0
    middle = frame.at(0, 0, lift + height / 2).tilted(pitch=random.uniform(0.0, 0.1) if stand else 0.0)
    scene.box(middle, (0, 0, 0), (width, 0.04, height), black)
    picture = m.paint(scene, (0.6, 0.1, 0.07), gloss=0.9) if random.random() < 0.6 else m.printed(scene, "screen")
    scene.box(middle, (0, -0.021, 0), (width - 0.03, 0.004, height - 0.03), picture)
    if stand:
        scene.cylinder(frame, (0, 0.02, 0), width * 0.25, 0.015, black)
        scene.box(frame, (0, 0.03, lift / 2 + 0.05), (0.05, 0.03, lift + 0.1), black)


@thing
def plant(scene: Scene, frame: Frame, height: float) -> None:
    """A plant in a pot: leaves as crossed cards, or a leafy ball."""
    random = scene.random
    radius = height * random.uniform(0.12, 0.2)
    pot_height, green = radius * random.uniform(1.2, 2.0), m.leaf_colour(random)
    pot = m.paint(scene, random.choice([(0.04, 0.6, 0.6), (0.1, 0.05, 0.85), m.any_colour(random)]))
    scene.cylinder(frame, (0, 0, 0), radius * 0.7, pot_height, pot, top_radius=radius)
    scene.cylinder(frame, (0, 0, pot_height - 0.01), radius * 0.9, 0.012, m.soil(scene, "litter"))
    crown = height - pot_height
    if random.random() < 0.6:
        texture = random.choice(["fronds", "fronds", "twigs", "crown"])
        leaf = m.foliage(scene, texture, colour=green)
        turn = random.uniform(0, 3)
        for i in range(4):
            card = frame.at(0, 0, pot_height + crown / 2, yaw=turn + i * 0.785).tilted(pitch=random.gauss(0, 0.15))
            scene.card(card, (0, 0, 0), (crown * random.uniform(0.8, 1.3), crown), leaf)
    else:
        leaf = m.foliage(scene, repeat=random.uniform(0.2, 0.5) * max(height, 0.3), colour=green)
        scene.rod(frame, (0, 0, pot_height), (0, 0, height * 0.7), radius * 0.1, m.bark(scene))
        for _ in range(4):
            place = (
                random.gauss(0, 0.12) * crown,
                random.gauss(0, 0.12) * crown,
                pot_height + crown * random.uniform(0.35, 0.75),
            )
            size = crown * random.uniform(0.35, 0.6)
            scene.ellipsoid(frame, place, (size, size, size * 0.8), leaf, leafy=True)


@thing
def lamp(scene: Scene, frame: Frame, height: float) -> None:
    """A standing lamp of any height: foot, pole, shade."""
    random = scene.random
    body, radius = m.metal(scene), height * random.uniform(0.1, 0.16) + 0.05
    shade = m.surface(scene, "plain", (0.11, random.uniform(0, 0.2), 0.95), glow=random.choice([0.0, 0.4, 1.5]))
    scene.cylinder(frame, (0, 0, 0), radius * 0.7, 0.02, body)
    scene.cylinder(frame, (0, 0, 0), 0.012, height * 0.85, body)
    scene.cylinder(
        frame, (0, 0, height * 0.75), radius, height * 0.25, shade, top_radius=radius * random.uniform(0.5, 1.0)
    )


@thing
def small_thing(scene: Scene, frame: Frame, *, largest: float = 0.35) -> None:
    """Something that stands on tables and shelves, at most `largest` metres high."""
    random = scene.random
    frame = frame.at(yaw=random.uniform(-3.2, 3.2) if random.random() < 0.5 else random.gauss(0, 0.2))
    kind = random.choice(
        ["bottle", "cup", "cup", "can", "box", "box", "books", "book", "bowl", "ball", "paper", "plant", "vase",
        "plate",
         "phone", "bag", "pen", "lamp", "fruit", "tape"]
    )  # fmt: skip
    size = min(1.0, largest / 0.3)
    if kind == "bottle":
        body, r, h = m.paint(scene, gloss=0.8), random.uniform(0.03, 0.045) * size, random.uniform(0.2, 0.3) * size
        scene.cylinder(frame, (0, 0, 0), r, h * 0.6, body)
        scene.cylinder(frame, (0, 0, h * 0.6), r, h * 0.2, body, top_radius=r * 0.35)
        scene.cylinder(frame, (0, 0, h * 0.8), r * 0.35, h * 0.2, m.paint(scene))
        scene.cylinder(frame, (0, 0, h * 0.2), r * 1.01, h * 0.28, m.printed(scene))
    elif kind == "cup":
        body, r, h = m.paint(scene, gloss=0.5), random.uniform(0.03, 0.05) * size, random.uniform(0.07, 0.11) * size
        inside = m.paint(scene, (0.08, random.uniform(0, 0.7), random.uniform(0.1, 0.5)))
        scene.cylinder(frame, (0, 0, 0), r * random.uniform(0.7, 1), h, body, top_radius=r)
        scene.cylinder(frame, (0, 0, h), r * 0.9, 0.001, inside)
        scene.rod(frame, (r * 0.9, 0, h * 0.8), (r * 1.5, 0, h * 0.55), 0.006, body)
        scene.rod(frame, (r * 0.9, 0, h * 0.25), (r * 1.5, 0, h * 0.55), 0.006, body)
        if random.random() < 0.4:
            scene.cylinder(frame, (0, 0, 0), r * 1.2, 0.012, body, top_radius=r * 1.9)
    elif kind == "can":
        scene.cylinder(frame, (0, 0, 0), 0.033 * size, 0.12 * size, m.printed(scene))
        scene.cylinder(frame, (0, 0, 0.12 * size), 0.028 * size, 0.003, m.metal(scene))
    elif kind == "box":
        a, b, c = (random.uniform(0.05, 0.3) * size for _ in range(3))
        scene.box(frame, (0, 0, c / 2), (a, b, c), m.printed(scene) if random.random() < 0.7 else m.paint(scene))
    elif kind in ("books", "book", "paper", "phone"):
        z, a, b = (
            0.0,
            *{"paper": (0.21, 0.3), "phone": (0.07, 0.15)}.get(
                kind, (random.uniform(0.12, 0.2), random.uniform(0.18, 0.28))
            ),
        )
        for _ in range(random.randint(2, 5) if kind == "books" else 1):
            c = {"paper": 0.002, "phone": 0.009}.get(kind, random.uniform(0.01, 0.04))
            cover = (
                m.paint(scene, (0, 0, 0.1), gloss=0.8)
                if kind == "phone"
                else m.printed(scene, "page" if kind == "paper" else "label")
            )
            scene.box(
                frame.at(random.gauss(0, 0.01), 0, 0, yaw=random.gauss(0, 0.15)),
                (0, 0, z + c / 2),
                (a * size, b * size, c),
                cover,
            )
            z += c
    elif kind in ("bowl", "plate"):
        r, h = (random.uniform(0.07, 0.13), 0.07) if kind == "bowl" else (random.uniform(0.08, 0.14), 0.018)
        body = m.paint(scene, gloss=0.5)
        scene.cylinder(frame, (0, 0, 0), r * 0.5 * size, h * size, body, top_radius=r * size)
        for _ in range(random.randint(0, 4)):
            scene.ellipsoid(
                frame,
                (random.gauss(0, 0.35) * r * size, random.gauss(0, 0.35) * r * size, h * size),
                (0.07 * size,) * 3,
                m.paint(scene),
            )
    elif kind in ("ball", "fruit"):
        r = random.uniform(0.03, 0.05 if kind == "fruit" else 0.12) * size
        texture = random.choice(["plain", "spots", "checks", "stripes"]) if kind == "ball" else "plain"
        skin = m.surface(scene, texture, m.any_colour(random), m.any_colour(random), m.any_colour(random), repeat=r * 3)
        scene.ellipsoid(frame, (0, 0, r), (2 * r, 2 * r, 2 * r), skin)
    elif kind == "plant":
        plant(scene, frame, random.uniform(0.2, 0.35) * size)
    elif kind == "vase":
        body, r, h = m.paint(scene), random.uniform(0.04, 0.08) * size, random.uniform(0.15, 0.3) * size
        scene.cylinder(frame, (0, 0, 0), r * 0.5, h * 0.5, body, top_radius=r)
        scene.cylinder(frame, (0, 0, h * 0.5), r, h * 0.5, body, top_radius=r * 0.4)
    elif kind == "bag":
        a, h = random.uniform(0.1, 0.2) * size, random.uniform(0.12, 0.28) * size
        tilted = frame.at(0, 0, h * 0.45).tilted(pitch=random.gauss(0, 0.2), roll=random.gauss(0, 0.2))
        scene.ellipsoid(tilted, (0, 0, 0), (a * 1.2, a * 0.6, h), m.printed(scene))
    elif kind == "pen":
        scene.rod(frame, (-0.07, 0, 0.005), (0.07, 0.02, 0.005), 0.005, m.paint(scene))
    elif kind == "lamp":
        lamp(scene, frame, random.uniform(0.3, 0.5) * size)
    else:  # a roll of tape, lying
        scene.cylinder(frame, (0, 0, 0), 0.05 * size, 0.04 * size, m.paint(scene))
        scene.cylinder(frame, (0, 0, 0.04 * size), 0.03 * size, 0.0015, m.paint(scene, (0.1, 0.3, 0.3)))


def spread_things(scene: Scene, frame: Frame, width: float, depth: float, count: int, *, largest: float = 0.35) -> None:
    """`count` small things on a rectangle around the frame's origin, hardly overlapping."""
    places: list[tuple[float, float]] = []
    for _ in range(count * 4):
        x, y = scene.random.uniform(-width / 2, width / 2), scene.random.uniform(-depth / 2, depth / 2)
        if all((x - px) ** 2 + (y - py) ** 2 > 0.13**2 for px, py in places):
            places.append((x, y))
            small_thing(scene, frame.at(x, y), largest=largest)
        if len(places) >= count:
            break


@thing
def desk_things(scene: Scene, frame: Frame, width: float, depth: float) -> None:
    """Screens, keyboard, mouse and papers on a desk whose far edge is at +y."""
    random = scene.random
    for x in [0.0] if random.random() < 0.6 else [-0.3, 0.3]:
        screen(scene, frame.at(x, depth * 0.25, yaw=random.gauss(0, 0.1) - x * 0.5), random.uniform(0.42, 0.6))
    keys = m.surface(
        scene, "keyboard", *random.choice([((0, 0, 0.12),) * 2, ((0.1, 0.05, 0.85),) * 2]), (0, 0, 0.3), repeat=0.0
    )
    scene.box(frame, (random.gauss(0, 0.05), -depth * 0.18, 0.012), (0.44, 0.15, 0.02), keys)
    scene.ellipsoid(frame, (0.33, -depth * 0.16, 0.015), (0.06, 0.1, 0.035), m.paint(scene))
    spread_things(scene, frame, width * 0.9, depth * 0.85, random.randint(3, 9))
