"""Things of rooms, built from solids. Each stands on the origin of its frame, facing the frame's -y, sizes in metres."""

from . import materials as m
from .builder import Frame, Scene, thing


def legs(scene: Scene, frame: Frame, width: float, depth: float, height: float, thickness: float, material: int) -> None:
    """Four legs at the corners of a rectangle, round or square, sometimes slanting."""
    round_, slant = scene.random.random() < 0.5, scene.random.choice([0.0, 0.0, 0.06])
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (width / 2 - thickness), sy * (depth / 2 - thickness)
            if round_:
                foot = (x + sx * slant, y + sy * slant, 0)
                scene.rod(frame, (x, y, height), foot, thickness / 2, material, end_radius=thickness * 0.35)
            else:
                scene.box(frame, (x, y, height / 2), (thickness, thickness, height), material)


@thing
def table(scene: Scene, frame: Frame, width: float, depth: float, height: float, *, style: str | None = None) -> None:
    """A table with four legs, a pedestal, or side panels; or a round one."""
    random = scene.random
    top, base = m.wood(scene), m.metal(scene) if random.random() < 0.4 else m.wood(scene)
    thickness = random.uniform(0.02, 0.05)
    style = style or random.choice(["legs", "legs", "legs", "panels", "pedestal", "round"])
    if style == "round":
        scene.cylinder(frame, (0, 0, height - thickness), 0.5 * max(width, depth), thickness, top)
    else:
        scene.box(frame, (0, 0, height - thickness / 2), (width, depth, thickness), top)
    if style == "panels":
        for sx in (-1, 1):
            scene.box(frame, (sx * (width / 2 - 0.04), 0, height / 2), (0.03, depth * 0.9, height - thickness), base)
        scene.box(frame, (0, depth * 0.4, height * 0.65), (width - 0.1, 0.02, height * 0.5), base)
    elif style == "legs":
        legs(scene, frame, width, depth, height - thickness, random.uniform(0.03, 0.08), base)
        if random.random() < 0.5:
            scene.box(frame, (0, 0, height - thickness - 0.04), (width - 0.15, depth - 0.15, 0.07), top)
    else:
        scene.cylinder(frame, (0, 0, 0), 0.3 * min(width, depth), 0.03, base)
        scene.cylinder(frame, (0, 0, 0), random.uniform(0.025, 0.06), height - thickness, base)


@thing
def chair(scene: Scene, frame: Frame, *, look: tuple[int, int] | None = None, style: str | None = None) -> None:
    """A chair, stool or office chair; `look` (frame and seat material) lets several chairs be alike."""
    random = scene.random
    body, seat = look or chair_look(scene)
    style = style or random.choice(["wood", "wood", "slats", "shell", "office", "stool", "arms"])
    height, width = random.uniform(0.42, 0.48), random.uniform(0.4, 0.48)
    if style == "stool":
        height = random.choice([0.45, 0.65, 0.75])
        scene.cylinder(frame, (0, 0, height - 0.05), width * 0.42, 0.05, seat)
        legs(scene, frame, width * 0.8, width * 0.8, height - 0.05, 0.03, body)
        return
    if style == "office":
        for i in range(5):
            foot = frame.at(yaw=i * 1.2566 + 0.3)
            scene.rod(foot, (0, 0, 0.12), (0.3, 0, 0.07), 0.025, body)
            scene.ellipsoid(foot, (0.3, 0, 0.04), (0.06, 0.05, 0.07), body)
        scene.cylinder(frame, (0, 0, 0.1), 0.03, height - 0.15, body)
        scene.ellipsoid(frame, (0, 0, height), (0.52, 0.52, 0.14), seat)
        back = frame.at(0, 0.24, height + 0.38).tilted(pitch=0.12)
        scene.ellipsoid(back, (0, 0, 0), (0.48, 0.12, 0.62), seat)
        scene.rod(frame, (0, 0.2, height - 0.05), (0, 0.27, height + 0.2), 0.025, body)
        if random.random() < 0.6:
            for sx in (-1, 1):
                scene.box(frame, (sx * 0.28, 0, height + 0.2), (0.06, 0.26, 0.035), body)
                scene.rod(frame, (sx * 0.26, 0.05, height), (sx * 0.28, 0.05, height + 0.2), 0.018, body)
        return
    legs(scene, frame, width, width, height, 0.035, body)
    if style == "shell":
        scene.ellipsoid(frame, (0, 0, height + 0.01), (width, width, 0.07), seat)
        scene.ellipsoid(frame.at(0, width * 0.47, height + 0.24).tilted(pitch=0.15), (0, 0, 0), (width, 0.07, 0.45), seat)
        return
    scene.box(frame, (0, 0, height), (width, width, 0.04), seat)
    back = frame.at(0, width / 2 - 0.02, height).tilted(pitch=0.1)
    rise = random.uniform(0.38, 0.52)
    if style == "wood":
        scene.box(back, (0, 0, rise * 0.6), (width, 0.03, rise * 0.8), seat)
    for sx in (-1, 1):
        scene.box(back, (sx * (width / 2 - 0.02), 0, rise / 2), (0.035, 0.035, rise), body)
        if style == "arms":
            scene.box(frame, (sx * width / 2, 0, height + 0.2), (0.05, width, 0.03), body)
            scene.box(frame, (sx * width / 2, -width / 2 + 0.04, height + 0.1), (0.03, 0.03, 0.2), body)
    if style != "wood":
        for z in (0.4, 0.65, 0.9):
            scene.box(back, (0, 0, rise * z), (width - 0.06, 0.02, 0.06), body)


def chair_look(scene: Scene) -> tuple[int, int]:
    """Materials of a chair: frame and seat."""
    random = scene.random
    body = m.metal(scene) if random.random() < 0.4 else m.wood(scene)
    return body, body if random.random() < 0.35 else (m.textile(scene) if random.random() < 0.6 else m.paint(scene))


@thing
def sofa(scene: Scene, frame: Frame, width: float) -> None:
    """A sofa or armchair with cushions."""
    random = scene.random
    cover = m.textile(scene)
    seat_height, depth, arm = random.uniform(0.38, 0.45), random.uniform(0.8, 0.95), random.uniform(0.12, 0.22)
    back_height = random.uniform(0.7, 0.95)
    scene.box(frame, (0, 0, seat_height * 0.45), (width, depth, seat_height * 0.6), cover)
    scene.box(frame, (0, depth / 2 - 0.1, back_height / 2 + 0.04), (width, 0.2, back_height - 0.08), cover)
    for sx in (-1, 1):
        x = sx * (width / 2 - arm / 2)
        scene.box(frame, (x, 0, 0.31), (arm, depth, 0.54), cover)
        scene.rod(frame, (x, -depth / 2, 0.58), (x, depth / 2, 0.58), arm / 2, cover)
    seats = max(1, round((width - 2 * arm) / 0.65))
    span = (width - 2 * arm) / seats
    for i in range(seats):
        x = -width / 2 + arm + (i + 0.5) * span
        scene.box(frame, (x, -0.08, seat_height), (span * 0.97, depth - 0.2, 0.14), cover)
        scene.ellipsoid(frame, (x, depth / 2 - 0.22, seat_height + 0.27), (span * 1.05, 0.26, 0.5), cover)
        if random.random() < 0.4:
            pillow(scene, frame.at(x, depth / 2 - 0.38, seat_height + 0.05), m.textile(scene))
    for sx in (-1, 1):
        for sy in (-1, 1):
            scene.box(frame, (sx * (width / 2 - 0.08), sy * (depth / 2 - 0.08), 0.05), (0.05, 0.05, 0.1), cover)


def pillow(scene: Scene, frame: Frame, cover: int) -> None:
    """A pillow leaning backwards on the frame's origin."""
    side = scene.random.uniform(0.35, 0.5)
    leaning = frame.at(0, 0, side / 2 + 0.05, yaw=scene.random.uniform(-0.4, 0.4)).tilted(pitch=-0.4, roll=scene.random.gauss(0, 0.2))
    scene.ellipsoid(leaning, (0, 0, 0), (side, 0.16, side), cover)
    scene.box(leaning, (0, 0, 0), (side * 0.86, 0.06, side * 0.86), cover)


@thing
def bed(scene: Scene, frame: Frame) -> None:
    """A bed with its head towards +y."""
    random = scene.random
    width, length, height = random.choice([0.95, 1.45, 1.7]), 2.05, random.uniform(0.4, 0.6)
    body, sheet, cover = m.wood(scene), m.textile(scene, (0.1, random.uniform(0, 0.1), random.uniform(0.75, 0.98))), m.textile(scene)
    scene.box(frame, (0, 0, height * 0.35), (width, length, height * 0.4), body)
    scene.box(frame, (0, 0, height * 0.75), (width - 0.05, length - 0.05, height * 0.45), sheet)
    scene.box(frame, (0, -0.3, height * 0.85), (width + 0.06, length - 0.6, height * 0.45), cover)
    scene.box(frame, (0, length / 2 + 0.03, random.uniform(0.4, 0.6)), (width + 0.05, 0.06, random.uniform(0.8, 1.2)), body)
    for i in range(1 if width < 1 else 2):
        x = 0 if width < 1 else (i - 0.5) * width / 2
        scene.ellipsoid(frame, (x, length / 2 - 0.3, height + 0.1), (0.65, 0.42, 0.2), sheet)
    if random.random() < 0.4:
        pillow(scene, frame.at(random.gauss(0, 0.2), length / 2 - 0.5, height), m.textile(scene))


@thing
def shelf(scene: Scene, frame: Frame, width: float, height: float, *, filled: float = 0.8) -> None:
    """An open shelf with books and other things in its compartments; its back stands at y = +0.15."""
    random = scene.random
    body, depth = m.wood(scene), 0.3
    boards = max(2, round(height / random.uniform(0.3, 0.42)))
    for sx in (-1, 1):
        scene.box(frame, (sx * width / 2, 0, height / 2), (0.025, depth, height), body)
    scene.box(frame, (0, depth / 2, height / 2), (width, 0.015, height), body)
    gap = (height - 0.05) / boards
    for i in range(boards + 1):
        scene.box(frame, (0, 0, 0.04 + i * gap), (width, depth, 0.022), body)
    rows = [m.printed(scene, "spines") for _ in range(2)]
    for i in range(boards):
        x = -width / 2 + 0.03
        while x < width / 2 - 0.12:
            place, span = frame.at(x, 0, 0.05 + i * gap), min(random.uniform(0.1, 0.45), width / 2 - 0.03 - x)
            if random.random() < filled:
                kind = random.random()
                if kind < 0.6:
                    tall = gap * random.uniform(0.6, 0.9)
                    scene.box(place, (span / 2, random.uniform(-0.03, 0.06), tall / 2), (span, 0.2, tall), random.choice(rows))
                elif kind < 0.75:
                    scene.box(place, (span / 2, 0, gap * 0.3), (span * 0.9, 0.22, gap * 0.6), m.printed(scene))
                else:
                    small_thing(scene, place.at(span / 2, -0.02), largest=min(gap * 0.8, 0.25))
            x += span + random.uniform(0.0, 0.05)


@thing
def cabinet(scene: Scene, frame: Frame, width: float, depth: float, height: float) -> None:
    """A closed cupboard, chest of drawers or kitchen front, with things on it if it is low."""
    colour = m.wood_colour(scene.random)
    front = m.surface(scene, "panels", colour, *m.shades(colour, 0.8, 0.4), repeat=0.0)
    scene.box(frame, (0, 0, height / 2 + 0.03), (width, depth, height - 0.06), front)
    scene.box(frame, (0, 0.02, 0.03), (width - 0.06, depth - 0.06, 0.06), m.paint(scene, (0, 0, 0.2)))
    scene.box(frame, (0, -0.005, height), (width + 0.02, depth + 0.03, 0.025), m.wood(scene))
    if height < 1.3:
        spread_things(scene, frame.at(0, 0, height + 0.0125), width * 0.85, depth * 0.6, scene.random.randint(0, 5))


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
        texture = random.choice(["fronds", "fronds", "twigs", "leaves"])
        leaf = m.foliage(scene, texture, colour=green)
        turn = random.uniform(0, 3)
        for i in range(4):
            card = frame.at(0, 0, pot_height + crown / 2, yaw=turn + i * 0.785).tilted(pitch=random.gauss(0, 0.15))
            scene.card(card, (0, 0, 0), (crown * random.uniform(0.8, 1.3), crown), leaf)
    else:
        leaf = m.foliage(scene, repeat=random.uniform(0.2, 0.5) * max(height, 0.3), colour=green)
        scene.rod(frame, (0, 0, pot_height), (0, 0, height * 0.7), radius * 0.1, m.bark(scene))
        for _ in range(4):
            place = (random.gauss(0, 0.12) * crown, random.gauss(0, 0.12) * crown, pot_height + crown * random.uniform(0.35, 0.75))
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
    scene.cylinder(frame, (0, 0, height * 0.75), radius, height * 0.25, shade, top_radius=radius * random.uniform(0.5, 1.0))


@thing
def small_thing(scene: Scene, frame: Frame, *, largest: float = 0.35) -> None:
    """Something that stands on tables and shelves, at most `largest` metres high."""
    random = scene.random
    frame = frame.at(yaw=random.uniform(-3.2, 3.2) if random.random() < 0.5 else random.gauss(0, 0.2))
    kind = random.choice(
        ["bottle", "cup", "cup", "can", "box", "box", "books", "book", "bowl", "ball", "paper", "plant", "vase", "plate",
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
        z, a, b = 0.0, *{"paper": (0.21, 0.3), "phone": (0.07, 0.15)}.get(kind, (random.uniform(0.12, 0.2), random.uniform(0.18, 0.28)))
        for _ in range(random.randint(2, 5) if kind == "books" else 1):
            c = {"paper": 0.002, "phone": 0.009}.get(kind, random.uniform(0.01, 0.04))
            cover = m.paint(scene, (0, 0, 0.1), gloss=0.8) if kind == "phone" else m.printed(scene, "page" if kind == "paper" else "label")
            scene.box(frame.at(random.gauss(0, 0.01), 0, 0, yaw=random.gauss(0, 0.15)), (0, 0, z + c / 2), (a * size, b * size, c), cover)
            z += c
    elif kind in ("bowl", "plate"):
        r, h = (random.uniform(0.07, 0.13), 0.07) if kind == "bowl" else (random.uniform(0.08, 0.14), 0.018)
        body = m.paint(scene, gloss=0.5)
        scene.cylinder(frame, (0, 0, 0), r * 0.5 * size, h * size, body, top_radius=r * size)
        for _ in range(random.randint(0, 4)):
            scene.ellipsoid(frame, (random.gauss(0, 0.35) * r * size, random.gauss(0, 0.35) * r * size, h * size), (0.07 * size,) * 3, m.paint(scene))
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
    keys = m.surface(scene, "keyboard", *random.choice([((0, 0, 0.12),) * 2, ((0.1, 0.05, 0.85),) * 2]), (0, 0, 0.3), repeat=0.0)
    scene.box(frame, (random.gauss(0, 0.05), -depth * 0.18, 0.012), (0.44, 0.15, 0.02), keys)
    scene.ellipsoid(frame, (0.33, -depth * 0.16, 0.015), (0.06, 0.1, 0.035), m.paint(scene))
    spread_things(scene, frame, width * 0.9, depth * 0.85, random.randint(3, 9))
