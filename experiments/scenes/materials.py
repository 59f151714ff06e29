"""Surfaces: colours as photographs have them (pale, grey and brown mostly, some accents) on patterns of the library.

Every function adds a material to a scene and returns its number. Colours are drawn as hue, saturation and value of
display colours and stored as linear RGB.
"""

from colorsys import hsv_to_rgb
from random import Random

from .builder import Scene, Vector
from .textures import TEXTURES

# Columns of a material's row: three linear colours, texture, metres per repeat of it (0: once over the whole face),
# offset u and v, whether u and v are swapped, gloss (0 matt .. 1 mirror-like), glow (light of its own).
MATERIAL_COLUMNS = 9 + 1 + 1 + 2 + 1 + 1 + 1


def linear(hue: float, saturation: float, value: float) -> Vector:
    """Linear RGB of a display colour; hue 0..1 (0 red, 0.33 green, 0.67 blue)."""
    rgb = hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return tuple(channel**2.2 for channel in rgb)


def vary(random: Random, hsv: Vector, amount: float = 1.0) -> Vector:
    """Linear RGB of a colour near the given one."""
    hue = hsv[0] + random.gauss(0, 0.02) * amount
    return linear(
        hue,
        hsv[1] * random.uniform(1 - 0.5 * amount, 1 + 0.4 * amount),
        hsv[2] * random.uniform(1 - 0.35 * amount, 1.15),
    )


def any_colour(random: Random) -> Vector:
    """A colour of made things, display HSV: mostly dull, sometimes strong."""
    kind = random.random()
    if kind < 0.22:
        return (random.uniform(0.05, 0.15), random.uniform(0.0, 0.15), random.uniform(0.65, 0.97))  # white, cream
    if kind < 0.42:
        return (random.random(), random.uniform(0.0, 0.15), random.uniform(0.14, 0.32))  # black, dark grey
    if kind < 0.6:
        return (random.random(), random.uniform(0.0, 0.12), random.uniform(0.3, 0.65))  # grey
    if kind < 0.78:
        return (random.gauss(0.08, 0.03), random.uniform(0.2, 0.6), random.uniform(0.25, 0.75))  # brown, beige
    if kind < 0.9:
        return (random.random(), random.uniform(0.15, 0.45), random.uniform(0.25, 0.8))  # dull colours
    return (
        random.choice([0.0, 0.02, 0.58, 0.62, 0.13, 0.35, random.random()]),
        random.uniform(0.55, 0.95),
        random.uniform(0.4, 0.9),
    )


def wood_colour(random: Random) -> Vector:
    """Display HSV of pale, middle, reddish or dark wood, sometimes painted white."""
    return random.choice(
        [
            (0.09, 0.3, 0.8),
            (0.085, 0.45, 0.65),
            (0.075, 0.55, 0.5),
            (0.06, 0.55, 0.38),
            (0.07, 0.5, 0.25),
            (0.1, 0.06, 0.88),
        ]
    )


def wall_colour(random: Random) -> Vector:
    """Display HSV of indoor walls."""
    if random.random() < 0.75:
        return (random.gauss(0.11, 0.04), random.uniform(0.0, 0.12), random.uniform(0.68, 0.97))
    return (random.random(), random.uniform(0.05, 0.35), random.uniform(0.35, 0.9))


def leaf_colour(random: Random) -> Vector:
    """Display HSV of plants: greens, sometimes dry, autumn or blossom."""
    kind = random.random()
    if kind < 0.78:
        return (random.uniform(0.19, 0.34), random.uniform(0.25, 0.6), random.uniform(0.2, 0.55))
    if kind < 0.94:
        return (random.uniform(0.07, 0.15), random.uniform(0.3, 0.65), random.uniform(0.3, 0.65))
    return (random.choice([0.9, 0.98, 0.0]), random.uniform(0.1, 0.5), random.uniform(0.5, 0.9))


def surface(
    scene: Scene,
    texture: str,
    first: Vector,
    second: Vector | None = None,
    third: Vector | None = None,
    *,
    repeat: float = 1.0,
    turned: bool = False,
    gloss: float | None = None,
    glow: float = 0.0,
    slide: bool = True,
) -> int:
    """A material from up to three display HSV colours and a pattern that repeats every `repeat` metres (0: fills a
    face)."""
    random = scene.random
    second = second or (first[0], first[1], first[2] * random.uniform(0.7, 0.95))
    third = third or (first[0], first[1] * 0.8, first[2] * random.uniform(0.5, 0.9))
    colours = [vary(random, colour, 0.3) for colour in (first, second, third)]
    if gloss is None:
        gloss = random.uniform(0, 0.3) if random.random() < 0.7 else random.uniform(0.3, 0.8)
    offset = (random.random(), random.random()) if slide and repeat else (0.0, 0.0)
    number = random.choice(TEXTURES[texture])
    scene.materials.append((*colours[0], *colours[1], *colours[2], number, repeat, *offset, float(turned), gloss, glow))
    return len(scene.materials) - 1


def shades(colour: Vector, *factors: float) -> list[Vector]:
    """Darker or brighter versions of a display HSV colour."""
    return [(colour[0], colour[1], min(1.0, colour[2] * factor)) for factor in factors]


def wood(scene: Scene, *, turned: bool | None = None, colour: Vector | None = None) -> int:
    """Wood grain or painted wood; turned: the grain runs along the face's second side."""
    colour = colour or wood_colour(scene.random)
    turned = scene.random.random() < 0.5 if turned is None else turned
    texture = "plain" if scene.random.random() < 0.2 else "wood"
    return surface(
        scene, texture, *shades(colour, 1.0, 0.75, 0.6), repeat=scene.random.uniform(0.4, 1.2), turned=turned
    )


def paint(scene: Scene, colour: Vector | None = None, **options) -> int:
    """One colour, hardly any pattern: plastic, lacquer, metal."""
    return surface(scene, "plain", colour or any_colour(scene.random), **options)


def metal(scene: Scene) -> int:
    """Dark or bright metal."""
    value = scene.random.choice([0.1, 0.15, 0.5, 0.7])
    return surface(scene, "plain", (0.6, 0.03, value), gloss=scene.random.uniform(0.4, 0.9))


def textile(scene: Scene, colour: Vector | None = None) -> int:
    """Plain or patterned cloth."""
    random = scene.random
    first = colour or any_colour(random)
    kind = random.random()
    if kind < 0.78:
        return surface(scene, "cloth", *shades(first, 1.0, 0.8), repeat=random.uniform(0.3, 1.0), gloss=0.0)
    pattern = random.choice(["stripes", "checks", "spots", "rug"])
    second, third = (any_colour(random), any_colour(random)) if random.random() < 0.5 else shades(first, 0.7, 1.25)
    return surface(scene, pattern, first, second, third, repeat=random.uniform(0.1, 0.6), gloss=0.0)


def printed(scene: Scene, texture: str = "label") -> int:
    """A picture or writing that fills each face: books, packages, posters."""
    random = scene.random
    paper = (
        (random.uniform(0, 0.15), random.uniform(0, 0.1), random.uniform(0.75, 1.0))
        if random.random() < 0.5
        else any_colour(random)
    )
    gloss = random.uniform(0, 0.4)
    return surface(scene, texture, paper, any_colour(random), any_colour(random), repeat=0.0, gloss=gloss)


def wall(scene: Scene, colour: Vector | None = None) -> int:
    """An indoor wall: plaster mostly, also bricks, stripes, tiles, panelling."""
    random = scene.random
    colour = colour or wall_colour(random)
    kind = random.random()
    if kind < 0.72:
        return surface(scene, "plaster", *shades(colour, 1.0, 0.95), repeat=random.uniform(1.5, 4), gloss=0.05)
    if kind < 0.8:
        return surface(scene, "bricks", colour, *shades(colour, 0.85, 0.9), repeat=1.0, gloss=0.0)
    if kind < 0.86:
        return surface(
            scene, "stripes", colour, *shades(colour, 0.88, 0.95), repeat=random.uniform(0.6, 1.5), gloss=0.0
        )
    if kind < 0.93:
        return surface(scene, "tiles", colour, colour, (0.1, 0.05, 0.7), repeat=random.uniform(0.4, 1.2), gloss=0.4)
    return surface(scene, "planks", *shades(wood_colour(random), 1.0, 0.8), repeat=1.2, turned=random.random() < 0.5)


def indoor_floor(scene: Scene) -> int:
    """Planks, tiles, carpet or stone."""
    random = scene.random
    kind, turned = random.random(), random.random() < 0.5
    grey = (random.gauss(0.1, 0.05), random.uniform(0.0, 0.15), random.uniform(0.25, 0.85))
    if kind < 0.4:
        colour = wood_colour(random)
        return surface(
            scene,
            "planks",
            *shades(colour, 1.0, 0.8),
            repeat=random.uniform(0.7, 1.6),
            turned=turned,
            gloss=random.uniform(0, 0.6),
        )
    if kind < 0.65:
        joint = (0.1, 0.05, random.uniform(0.2, 0.8))
        return surface(
            scene,
            "tiles",
            grey,
            *shades(grey, 0.95),
            joint,
            repeat=random.uniform(0.6, 2.4),
            gloss=random.uniform(0.1, 0.7),
        )
    if kind < 0.85:
        colour = grey if random.random() < 0.6 else any_colour(random)
        return surface(scene, "carpet", *shades(colour, 1.0, 0.75), repeat=random.uniform(0.5, 2), gloss=0.0)
    texture = random.choice(["concrete", "speckle", "marble"])
    return surface(
        scene, texture, *shades(grey, 1.0, 0.85, 0.9), repeat=random.uniform(0.8, 3), gloss=random.uniform(0, 0.7)
    )


def masonry(scene: Scene, *, repeat: float = 1.0) -> int:
    """Outside walls without windows of their own."""
    random = scene.random
    pale = (random.gauss(0.1, 0.03), random.uniform(0.03, 0.3), random.uniform(0.45, 0.9))
    kind = random.random()
    if kind < 0.35:
        red = (random.uniform(0.01, 0.06), random.uniform(0.3, 0.6), random.uniform(0.35, 0.65))
        return surface(
            scene,
            "bricks",
            red,
            *shades(red, 0.75),
            (0.1, 0.1, random.uniform(0.4, 0.75)),
            repeat=1.2 * repeat,
            gloss=0.0,
        )
    if kind < 0.6:
        return surface(
            scene,
            "stones",
            pale,
            *shades(pale, 0.8),
            (0.1, 0.1, 0.4),
            repeat=random.uniform(1.2, 2.5) * repeat,
            gloss=0.0,
        )
    texture = random.choice(["plaster", "plaster", "concrete", "planks"])
    return surface(scene, texture, *shades(pale, 1.0, 0.8, 0.7), repeat=random.uniform(2, 4) * repeat, gloss=0.0)


def windowed(scene: Scene, *, repeat: float) -> int:
    """A wall with painted rows of windows, `repeat` metres per pattern."""
    random = scene.random
    pale = (random.gauss(0.09, 0.04), random.uniform(0.02, 0.35), random.uniform(0.4, 0.9))
    frame = random.choice([(0.1, 0.03, 0.9), (0.08, 0.3, 0.3), (0.6, 0.05, 0.2)])
    glass = (0.58, random.uniform(0.05, 0.3), random.uniform(0.1, 0.5))
    return surface(scene, "facade", pale, glass, frame, repeat=repeat, gloss=0.1)


def soil(scene: Scene, kind: str) -> int:
    """Open ground: grass, litter (leaves, gravel), asphalt, paving, sand."""
    random = scene.random
    if kind == "grass":
        green, dry = (
            (random.uniform(0.17, 0.27), random.uniform(0.3, 0.6), random.uniform(0.3, 0.6)),
            (0.12, 0.35, random.uniform(0.4, 0.7)),
        )
        return surface(scene, "grass", green, *shades(green, 0.7), dry, repeat=random.uniform(1.2, 4), gloss=0.0)
    if kind == "litter":
        earth = (random.gauss(0.09, 0.02), random.uniform(0.2, 0.5), random.uniform(0.3, 0.6))
        return surface(scene, "litter", earth, *shades(earth, 1.3, 0.6), repeat=random.uniform(1, 3), gloss=0.0)
    if kind == "asphalt":
        grey = (0.6 * random.random(), random.uniform(0.0, 0.07), random.uniform(0.25, 0.55))
        return surface(
            scene, "asphalt", *shades(grey, 1.0, 0.85, 0.7), repeat=random.uniform(3, 7), gloss=random.uniform(0, 0.2)
        )
    if kind == "paving":
        pale = (random.gauss(0.09, 0.03), random.uniform(0.03, 0.2), random.uniform(0.4, 0.75))
        texture = random.choice(["tiles", "stones", "cobbles", "bricks"])
        return surface(scene, texture, pale, *shades(pale, 0.85, 0.5), repeat=random.uniform(0.8, 2.5), gloss=0.05)
    sand = (random.gauss(0.1, 0.015), random.uniform(0.15, 0.4), random.uniform(0.5, 0.8))
    return surface(scene, "concrete", *shades(sand, 1.0, 0.85, 0.9), repeat=random.uniform(3, 8), gloss=0.0)


def foliage(scene: Scene, texture: str = "leaves", *, repeat: float = 0.0, colour: Vector | None = None) -> int:
    """Leaves: cut out by the opacity of their pattern."""
    green = colour or leaf_colour(scene.random)
    return surface(scene, texture, green, *shades(green, 0.6, 1.4), repeat=repeat, gloss=0.1)


def bark(scene: Scene) -> int:
    """The bark of trees."""
    brown = (scene.random.gauss(0.08, 0.02), scene.random.uniform(0.1, 0.45), scene.random.uniform(0.2, 0.5))
    return surface(
        scene, "bark", brown, *shades(brown, 0.6, 1.2), repeat=scene.random.uniform(0.4, 1.0), turned=False, gloss=0.0
    )


def glass(scene: Scene) -> int:
    """A window pane seen from outside."""
    return paint(scene, (0.58, scene.random.uniform(0.05, 0.3), scene.random.uniform(0.08, 0.3)), gloss=1.0)


def glowing(scene: Scene, colour: Vector, strength: float) -> int:
    """A thing that shines by itself; strength 1 is about as bright as white paper in the room."""
    return surface(scene, "plain", colour, glow=strength, gloss=0.0)
