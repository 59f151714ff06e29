"""What patterns are painted with: seamless noise, soft steps, and a canvas with rectangles and lines of text.

Letters: S texture side.
"""

import numpy as np

SIDE = 256  # texels along a side


def noise(rng: np.random.Generator, slope: float, *, stretch: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Seamless noise in 0..1 whose amplitude falls with frequency ** slope; stretch > 1 draws it out along x or y. S
    S"""
    fy = np.fft.fftfreq(SIDE)[:, None] * SIDE * stretch[1]
    fx = np.fft.rfftfreq(SIDE)[None, :] * SIDE * stretch[0]
    amplitude = np.maximum(np.hypot(fx, fy), 1.0) ** -slope
    amplitude[0, 0] = 0.0
    values = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * amplitude, s=(SIDE, SIDE))
    return np.clip(0.5 + values / values.std() / 5.0, 0.0, 1.0)


def step(values: np.ndarray, edge: float, width: float = 0.02) -> np.ndarray:
    """0 below the edge, 1 above it, with a soft ramp of the given width."""
    return np.clip((values - edge) / width + 0.5, 0.0, 1.0)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of the texels in 0..1, y upwards. S S each"""
    axis = (np.arange(SIDE) + 0.5) / SIDE
    return np.broadcast_to(axis[None, :], (SIDE, SIDE)), np.broadcast_to(axis[:, None], (SIDE, SIDE))


class Canvas:
    """One texture while it is painted: parts of colours B and C, brightness (1 is neutral), opacity. S S each"""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.b, self.c = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
        self.shade, self.alpha = np.ones((SIDE, SIDE)), np.ones((SIDE, SIDE))

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, *, b=None, c=None, shade=None, alpha=None) -> None:
        """Set parts of an upright rectangle; corners in 0..1, y upwards."""
        rows = slice(int(y0 * SIDE + 0.5), int(y1 * SIDE + 0.5))
        columns = slice(int(x0 * SIDE + 0.5), int(x1 * SIDE + 0.5))
        for plane, value in ((self.b, b), (self.c, c), (self.shade, shade), (self.alpha, alpha)):
            if value is not None:
                plane[rows, columns] = value

    def text(self, x0: float, y0: float, x1: float, y1: float, *, line: float, b: float = 1.0, c: float = 0.0) -> None:
        """Lines of word-like marks that fill a rectangle from the top."""
        y = y1 - line
        while y > y0:
            x, end = x0, x0 + (x1 - x0) * self.rng.uniform(0.6, 1.0)
            while x < end:
                width = line * self.rng.uniform(0.2, 0.45)  # a letter
                tall = line * self.rng.choice([0.45, 0.45, 0.65])
                self.rectangle(x, y, x + width * 0.75, y + tall, b=b, c=c)
                x += width + (line * 0.5 if self.rng.random() < 0.2 else 0.0)
            y -= line

    def level(self) -> np.ndarray:
        """The finished texture. 4 S S uint8: B, C, brightness (128 is neutral), opacity"""
        planes = np.stack([self.b, self.c, self.shade * 0.502, self.alpha])
        return (np.clip(planes, 0, 1) * 255 + 0.5).astype(np.uint8)
