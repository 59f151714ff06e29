"""Painters of patterns with holes: leaves, twigs, grass, wire."""

import math

import numpy as np

from .canvas import SIDE, Canvas, grid, noise, step


def leaves(t: Canvas) -> None:
    t.alpha = step(noise(t.rng, t.rng.uniform(0.4, 0.85)), t.rng.uniform(0.44, 0.52), 0.02)
    t.b, t.c = noise(t.rng, 1.0), step(noise(t.rng, 0.6), 0.65, 0.1)
    t.shade = 0.25 + 1.5 * noise(t.rng, 0.5)


def crown(t: Canvas) -> None:
    """The ragged outline of a bough full of leaves."""
    leaves(t)
    x, y = grid()
    ragged = np.hypot(x - 0.5, y - 0.5) + 0.35 * (noise(t.rng, 1.0) - 0.5)
    t.alpha = t.alpha * (ragged < 0.4) * (np.maximum(abs(x - 0.5), abs(y - 0.5)) < 0.49)
    t.shade *= 0.7 + 0.6 * y


def blade(t: Canvas, x: float, y: float, angle: float, length: float, width: float, bend: float) -> None:
    """A leaf or twig that starts at (x, y), leans by `angle` from upright, bends, and narrows towards its end."""
    parts = max(4, int(length * SIDE / 4))
    for number in range(parts):
        part = number / parts
        half = max(width * (1 - part) * min(1.0, 0.3 + 4 * part), 0.003)
        t.rectangle(x - half, y - 0.006, x + half, y + 0.016, alpha=1.0, shade=0.6 + 0.6 * part, b=part)
        x, y = x + length / parts * math.sin(angle), y + length / parts * math.cos(angle)
        x, y = min(max(x, 0.02), 0.97), min(max(y, 0.02), 0.97)
        angle += bend / parts


def fronds(t: Canvas) -> None:
    t.alpha[:] = 0.0
    for _ in range(t.rng.integers(14, 30)):
        angle = float(t.rng.uniform(-1.1, 1.1))
        blade(
            t,
            0.5 + t.rng.normal(0, 0.04),
            0.02,
            angle,
            t.rng.uniform(0.5, 1.0),
            t.rng.uniform(0.008, 0.03),
            angle * 1.2,
        )


def tuft(t: Canvas) -> None:
    t.alpha[:] = 0.0
    for _ in range(90):
        angle = t.rng.normal(0, 0.35)
        blade(t, t.rng.uniform(0.05, 0.95), 0.0, angle, t.rng.uniform(0.3, 0.95), 0.008, angle)


def twigs(t: Canvas) -> None:
    t.alpha[:] = 0.0

    def grow(x, y, angle, length, width):
        end_x, end_y = x + length * np.sin(angle), y + length * np.cos(angle)
        blade(t, x, y, angle, length, width, t.rng.normal(0, 0.3))
        if length > 0.06:
            for _ in range(3):
                grow(end_x, end_y, angle + t.rng.normal(0, 0.6), length * t.rng.uniform(0.55, 0.8), width * 0.6)

    for side in (-0.5, 0.0, 0.5):
        grow(0.5, 0.0, side, 0.33, 0.012)
    t.shade[:] = 0.7


def mesh(t: Canvas) -> None:
    x, y = grid()
    count, width = int(t.rng.integers(5, 12)), t.rng.uniform(0.08, 0.2)
    lines = ((x + y) * count % 1 < width) | ((x - y) * count % 1 < width)
    if t.rng.random() < 0.5:
        lines = (x * count % 1 < width) | (y * 2 % 1 < 0.06)
    t.alpha = lines * 1.0
