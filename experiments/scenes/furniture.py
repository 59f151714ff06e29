"""Things of rooms, built from solids. Each stands on the origin of its frame, facing the frame's -y, sizes in
metres."""

from . import materials as m
from .builder import Frame, Scene, thing
from .small_things import small_thing, spread_things


def legs(
    scene: Scene, frame: Frame, width: float, depth: float, height: float, thickness: float, material: int
) -> None:
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
        scene.ellipsoid(
            frame.at(0, width * 0.47, height + 0.24).tilted(pitch=0.15), (0, 0, 0), (width, 0.07, 0.45), seat
        )
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
    leaning = frame.at(0, 0, side / 2 + 0.05, yaw=scene.random.uniform(-0.4, 0.4)).tilted(
        pitch=-0.4, roll=scene.random.gauss(0, 0.2)
    )
    scene.ellipsoid(leaning, (0, 0, 0), (side, 0.16, side), cover)
    scene.box(leaning, (0, 0, 0), (side * 0.86, 0.06, side * 0.86), cover)


@thing
def bed(scene: Scene, frame: Frame) -> None:
    """A bed with its head towards +y."""
    random = scene.random
    width, length, height = random.choice([0.95, 1.45, 1.7]), 2.05, random.uniform(0.4, 0.6)
    body, sheet, cover = (
        m.wood(scene),
        m.textile(scene, (0.1, random.uniform(0, 0.1), random.uniform(0.75, 0.98))),
        m.textile(scene),
    )
    scene.box(frame, (0, 0, height * 0.35), (width, length, height * 0.4), body)
    scene.box(frame, (0, 0, height * 0.75), (width - 0.05, length - 0.05, height * 0.45), sheet)
    scene.box(frame, (0, -0.3, height * 0.85), (width + 0.06, length - 0.6, height * 0.45), cover)
    scene.box(
        frame, (0, length / 2 + 0.03, random.uniform(0.4, 0.6)), (width + 0.05, 0.06, random.uniform(0.8, 1.2)), body
    )
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
                    scene.box(
                        place, (span / 2, random.uniform(-0.03, 0.06), tall / 2), (span, 0.2, tall), random.choice(rows)
                    )
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
