"""Painters of patterns: noise, wood, bricks, text, leaves, ... Each repeats without a seam.

A pattern says where a material shows its second and third colour, how bright it is, and where it is cut out; the
colours themselves come from the material, so one pattern serves thousands of looks.

Letters: S texture side.
"""

import numpy as np

from .canvas import SIDE, Canvas, grid, noise, step
from .cutouts import crown, fronds, leaves, mesh, tuft, twigs


def plain(t: Canvas) -> None:
    t.shade = 0.97 + 0.06 * noise(t.rng, 0.3)


def plaster(t: Canvas) -> None:
    t.b = step(noise(t.rng, 1.6), 0.62, 0.5) * 0.5
    t.shade = 0.9 + 0.2 * noise(t.rng, 1.0)


def concrete(t: Canvas) -> None:
    t.b = noise(t.rng, 1.5)
    t.c = step(noise(t.rng, 1.3), 0.72, 0.3) * 0.6
    t.shade = 0.75 + 0.5 * noise(t.rng, 0.7)


def speckle(t: Canvas) -> None:
    t.b = step(noise(t.rng, 0.3), 0.6, 0.1)
    t.c = step(noise(t.rng, 0.5), 0.75, 0.05)
    t.shade = 0.8 + 0.4 * noise(t.rng, 0.9)


def carpet(t: Canvas) -> None:
    t.b = noise(t.rng, 0.8) * 0.6
    t.shade = 0.7 + 0.6 * noise(t.rng, 0.15)


def cloth(t: Canvas) -> None:
    x, y = grid()
    threads = 0.5 + 0.25 * (np.sin(x * 2 * np.pi * 48) + np.sin(y * 2 * np.pi * 48))
    folds = noise(t.rng, 2.0, stretch=(1.0, 2.5))
    t.b, t.shade = 0.4 * noise(t.rng, 1.2), 0.65 + 0.15 * threads + 0.5 * folds


def marble(t: Canvas) -> None:
    veins = np.abs(noise(t.rng, 1.5) - 0.5) + 0.2 * np.abs(noise(t.rng, 1.2) - 0.5)
    t.b, t.c = 1.0 - step(veins, 0.03, 0.06), noise(t.rng, 1.8) * 0.5


def grain(t: Canvas, stretch: float = 14.0) -> np.ndarray:
    """Wood along x: rings that a slow noise bends, and pores. S S"""
    _, y = grid()
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (y * t.rng.integers(3, 9) + 2.5 * noise(t.rng, 2.2, stretch=(stretch, 1.0))))
    return 0.55 * rings + 0.45 * noise(t.rng, 0.7, stretch=(stretch, 1.0))


def wood(t: Canvas) -> None:
    t.b = grain(t)
    t.shade = 0.85 + 0.3 * noise(t.rng, 0.5, stretch=(20.0, 1.0))


def planks(t: Canvas) -> None:
    rows = int(t.rng.choice([4, 6, 8]))
    wood_grain, height = grain(t), SIDE // rows
    for row in range(rows):
        joint, span = t.rng.integers(SIDE), slice(row * height, (row + 1) * height)
        tone = np.where((np.arange(SIDE) + joint) % SIDE < SIDE // 2, *t.rng.uniform(0.75, 1.2, 2))
        t.b[span] = np.roll(wood_grain, t.rng.integers(SIDE), axis=1)[span]
        t.shade[span] = tone
        t.shade[row * height : row * height + 1] *= 0.55
        t.shade[span, [(SIDE - joint) % SIDE, (SIDE // 2 - joint) % SIDE]] *= 0.6


def courses(t: Canvas, *, rows: int, columns: int, joint: float, shift: float, variety: float) -> None:
    """Bricks or tiles with joints in colour C and a tone of their own; `shift` moves every second row."""
    x, y = grid()
    row = np.floor(y * rows).astype(int)
    along = x * columns + shift * (row % 2)
    column = np.floor(along).astype(int) % columns
    u, v = along % 1.0 / columns, y * rows % 1.0 / rows
    near = np.minimum(np.minimum(u, 1 / columns - u), np.minimum(v, 1 / rows - v))
    wall = step(near, joint, 0.01)
    tone = t.rng.uniform(1 - variety, 1 + variety, (rows, columns))[row, column]
    t.b = t.rng.uniform(0, variety * 2, (rows, columns))[row, column] * wall
    t.c = 1.0 - wall
    t.shade = np.where(wall > 0.5, tone, 1.0) * (0.85 + 0.3 * noise(t.rng, 0.9))


def bricks(t: Canvas) -> None:
    courses(t, rows=12, columns=4, joint=0.006, shift=0.5, variety=0.25)


def stones(t: Canvas) -> None:
    courses(t, rows=int(t.rng.choice([4, 6])), columns=3, joint=0.008, shift=t.rng.uniform(0.3, 0.6), variety=0.2)
    t.shade *= 0.6 + 0.8 * noise(t.rng, 1.2)


def tiles(t: Canvas) -> None:
    count = int(t.rng.choice([2, 4, 6]))
    courses(t, rows=count, columns=count, joint=0.004, shift=t.rng.choice([0.0, 0.0, 0.5]), variety=0.06)


def cobbles(t: Canvas) -> None:
    x, y = (axis.astype(np.float32) for axis in grid())
    points = (
        np.stack(np.meshgrid(np.arange(9), np.arange(9)), -1).reshape(-1, 2) + t.rng.uniform(0.15, 0.85, (81, 2))
    ).astype(np.float32) / 9
    dx = np.abs(x[..., None] - points[:, 0])
    dy = np.abs(y[..., None] - points[:, 1])
    distance = np.partition(np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy)), 1, axis=-1)[..., :2]
    t.c = 1.0 - step(distance[..., 1] - distance[..., 0], 0.015, 0.03)
    t.b, t.shade = noise(t.rng, 1.0), 0.75 + 0.5 * noise(t.rng, 0.8)


def grass(t: Canvas) -> None:
    t.b = noise(t.rng, 0.9, stretch=(0.7, 1.5))
    t.c = step(noise(t.rng, 1.6), 0.6, 0.5) * 0.7
    t.shade = 0.5 + 1.0 * noise(t.rng, 0.35, stretch=(1.0, 1.6))


def litter(t: Canvas) -> None:
    t.b = step(noise(t.rng, 0.8), 0.52, 0.05)
    t.c = step(noise(t.rng, 0.7), 0.63, 0.05)
    t.shade = 0.55 + 0.9 * noise(t.rng, 0.5)


def asphalt(t: Canvas) -> None:
    t.b = step(noise(t.rng, 1.7), 0.55, 0.6) * 0.6
    t.c = 1.0 - step(np.abs(noise(t.rng, 1.5) - 0.5), 0.004, 0.006)
    t.shade = 0.8 + 0.4 * noise(t.rng, 0.2)


def stripes(t: Canvas) -> None:
    x, _ = grid()
    phase = x * int(t.rng.integers(2, 14)) % 1.0
    t.b = step(phase, t.rng.uniform(0.3, 0.7)) * step(1 - phase, 0.02)
    t.c = (np.abs(phase - 0.15) < 0.06) * float(t.rng.random() < 0.5)
    t.shade = 0.85 + 0.3 * noise(t.rng, 1.0)


def checks(t: Canvas) -> None:
    x, y = grid()
    count = int(t.rng.integers(2, 9))
    first, second = (x * count) % 1 > 0.5, (y * count) % 1 > 0.5
    t.b, t.c = (first ^ second) * 1.0, (first & second) * 0.5 * (t.rng.random() < 0.5)
    t.shade = 0.9 + 0.2 * noise(t.rng, 0.5)


def rug(t: Canvas) -> None:
    x, y = grid()
    u, v = np.abs(x - 0.5) * 2, np.abs(y - 0.5) * 2
    pattern = np.sin(u * t.rng.integers(8, 30)) * np.sin(v * t.rng.integers(8, 30)) + np.cos(
        (u + v) * t.rng.integers(5, 25)
    )
    t.b, t.c = step(pattern, 0.2, 0.1), step(pattern, 1.0, 0.1)
    border = np.maximum(u, v)
    t.b[border > 0.85], t.c[(border > 0.9) & (border < 0.95)] = 0.8, 1.0
    t.shade = 0.8 + 0.4 * noise(t.rng, 0.3)


def spots(t: Canvas) -> None:
    t.b = step(noise(t.rng, 1.5), t.rng.uniform(0.45, 0.6), 0.06)
    t.c = step(noise(t.rng, 1.3), 0.68, 0.05)
    t.shade = 0.8 + 0.4 * noise(t.rng, 0.6)


def fur(t: Canvas) -> None:
    t.b = np.clip(noise(t.rng, 1.5, stretch=(1.0, 2.5)) * 1.6 - 0.3, 0, 1)
    t.c = step(noise(t.rng, 1.5), 0.66, 0.2)
    t.shade = 0.6 + 0.8 * noise(t.rng, 0.4, stretch=(1.0, 4.0))


def bark(t: Canvas) -> None:
    t.b = noise(t.rng, 0.8, stretch=(1.0, 5.0))
    t.c = step(noise(t.rng, 1.4), 0.68, 0.1) * 0.7
    t.shade = 0.45 + 1.1 * noise(t.rng, 0.9, stretch=(1.0, 5.0))


def page(t: Canvas) -> None:
    t.text(0.08, 0.05, 0.92, 0.8, line=t.rng.uniform(0.03, 0.05), b=0.9)
    t.text(0.08, 0.83, 0.85, 0.95, line=0.1)
    if t.rng.random() < 0.6:
        x, y = t.rng.uniform(0.1, 0.5, 2)
        t.rectangle(x, y, x + 0.4, y + 0.3, b=0.3, c=0.6)


def label(t: Canvas) -> None:
    """Packages, book covers, cans, posters: blocks of colour, some writing, a picture."""
    for _ in range(t.rng.integers(1, 4)):
        x, y = t.rng.uniform(0, 0.6, 2)
        b = t.rng.random()
        t.rectangle(
            x, y, x + t.rng.uniform(0.2, 1.0), y + t.rng.uniform(0.1, 0.5), b=b, c=1 - b if t.rng.random() < 0.5 else 0
        )
    top = t.rng.uniform(0.6, 0.95)
    t.text(0.08, top - 0.3, 0.95, top, line=t.rng.uniform(0.12, 0.28), b=0.0, c=1.0)
    t.text(0.08, 0.06, 0.95, 0.25, line=0.05, b=t.rng.random())
    x, y = grid()
    cx, cy, r = t.rng.uniform(0.3, 0.7), t.rng.uniform(0.2, 0.7), t.rng.uniform(0.08, 0.25)
    disc = 1.0 - step(np.hypot(x - cx, y - cy), r)
    t.b, t.c = t.b * (1 - disc), t.c * (1 - disc) + disc * t.rng.random()
    t.shade = 0.9 + 0.2 * noise(t.rng, 1.2)


def painting(t: Canvas) -> None:
    x, y = grid()
    hills = 0.3 + 0.4 * noise(t.rng, 2.0)[:1]
    t.b = step(hills - y, 0.0, 0.05)
    t.c = step(noise(t.rng, 1.5), 0.6, 0.1) * (y < t.rng.uniform(0.3, 0.9))
    t.shade = 0.6 + 0.8 * noise(t.rng, 1.2) * (0.6 + 0.4 * y)
    edge = np.maximum(np.abs(x - 0.5), np.abs(y - 0.5)) > 0.42 + 0.06 * t.rng.random()
    t.b[edge], t.c[edge], t.shade[edge] = 0.0, 0.0, 1.25


def screen(t: Canvas) -> None:
    t.rectangle(0.05, 0.1, 0.6, 0.9, b=0.8)
    t.text(0.08, 0.15, 0.55, 0.85, line=0.045, b=0.0)
    t.rectangle(0.65, 0.2, 0.95, 0.8, c=0.8)
    t.shade = 0.8 + 0.4 * noise(t.rng, 2.0)


def keyboard(t: Canvas) -> None:
    courses(t, rows=5, columns=14, joint=0.008, shift=0.3, variety=0.1)


def facade(t: Canvas) -> None:
    """Rows of windows: glass in B, frames and ledges in C, wall in A."""
    columns, rows = int(t.rng.integers(2, 5)), int(t.rng.integers(2, 4))
    wide, tall = t.rng.uniform(0.4, 0.7), t.rng.uniform(0.5, 0.75)
    for i in range(columns):
        for j in range(rows):
            x0, y0 = (i + 0.5 - wide / 2) / columns, (j + 0.5 - tall / 2) / rows
            x1, y1 = x0 + wide / columns, y0 + tall / rows
            t.rectangle(x0 - 0.012, y0 - 0.02, x1 + 0.012, y1 + 0.012, c=1.0)
            t.rectangle(x0, y0, x1, y1, b=1.0, c=0.0, shade=t.rng.uniform(0.6, 1.3))
            if t.rng.random() < 0.4:
                t.rectangle(x0, y0 + (y1 - y0) * t.rng.uniform(0.3, 0.9), x1, y1, b=0.3, c=0.6)  # a blind
            t.rectangle((x0 + x1) / 2 - 0.006, y0, (x0 + x1) / 2 + 0.006, y1, b=0.0, c=1.0)
    t.shade *= 0.85 + 0.3 * noise(t.rng, 1.0)


def panels(t: Canvas) -> None:
    """Doors, drawers, cupboards: raised fields with dark joints and handles."""
    columns, rows = int(t.rng.integers(1, 3)), int(t.rng.integers(1, 5))
    t.shade[:] = 0.55
    for i in range(columns):
        for j in range(rows):
            x0, y0, x1, y1 = i / columns + 0.012, j / rows + 0.012, (i + 1) / columns - 0.012, (j + 1) / rows - 0.012
            t.rectangle(x0, y0, x1, y1, shade=1.0)
            if t.rng.random() < 0.5:
                t.rectangle(x0 + 0.06, y0 + 0.06, x1 - 0.06, y1 - 0.06, shade=0.93)
            middle = (x0 + x1) / 2
            t.rectangle(middle - 0.04, y1 - 0.06, middle + 0.04, y1 - 0.04, c=1.0)
    t.b = grain(t) * 0.7


def spines(t: Canvas) -> None:
    """A row of books."""
    x = 0.0
    while x < 1.0:
        width, b, top = t.rng.uniform(0.03, 0.09), t.rng.random(), t.rng.uniform(0.75, 1.0)
        t.rectangle(x, 0, x + width, top, b=b, c=(1 - b) * t.rng.random(), shade=t.rng.uniform(0.6, 1.2))
        t.rectangle(x, top, x + width, 1, shade=0.15)
        t.rectangle(x + 0.2 * width, 0.3, x + 0.8 * width, 0.3 + 0.4 * t.rng.random(), c=0.7)
        t.rectangle(x, 0, x + 0.006, 1, shade=0.3)
        x += width


def folds(t: Canvas) -> None:
    x, _ = grid()
    bend = 0.02 * noise(t.rng, 2.0, stretch=(1, 4))
    t.shade = 0.85 + 0.25 * np.sin(2 * np.pi * ((x + bend) * t.rng.integers(5, 12)))
    t.b = noise(t.rng, 1.5) * 0.3


def louvres(t: Canvas) -> None:
    _, y = grid()
    t.shade = 0.7 + 0.5 * ((y * t.rng.integers(12, 28)) % 1.0)


RECIPES = {  # painter: how many variants
    plain: 2, plaster: 4, concrete: 4, speckle: 3, carpet: 3, cloth: 4, marble: 2, wood: 4, planks: 5, bricks: 4,
    stones: 4, tiles: 5, cobbles: 2, grass: 4, litter: 3, asphalt: 3, stripes: 5, checks: 3, rug: 3, spots: 5, fur: 3,
    bark: 3, page: 3, label: 12, painting: 6, screen: 2, keyboard: 1, facade: 8, panels: 6, spines: 3, folds: 3,
    louvres: 2, leaves: 5, crown: 4, fronds: 4, tuft: 3, twigs: 3, mesh: 3,
}  # fmt: skip
