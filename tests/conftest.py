"""Fixtures that several test files use: synthetic weight files in the releases' layouts, and a picture."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.reference import synthetic_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def weight_file(tmp_path_factory):
    """weight_file(NAME) -> path of NAME.pth, the synthetic checkpoint of tests/reference/manifests/NAME.json (seed 0)."""
    folder = tmp_path_factory.mktemp("weights")

    def build(name: str) -> Path:
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.save(synthetic_checkpoint.build(name), path)
        return path

    return build


@pytest.fixture(scope="session")
def tiny_v2(weight_file) -> Path:
    """A small Depth-Anything V2 weight file (12 blocks of 128 features)."""
    return weight_file("tiny_depth_anything_v2")


def make_picture(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """A BGR uint8 picture with structure: a gradient, a disc and noise."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[0:height, 0:width]
    red = 255 * xs / max(width - 1, 1)
    green = 255 * ys / max(height - 1, 1)
    blue = 200.0 * ((ys - height / 2) ** 2 + (xs - width / 3) ** 2 < (height / 4) ** 2)
    noise = rng.normal(0, 12, (height, width, 3))
    return np.clip(np.stack([blue, green, red], axis=-1) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def picture() -> np.ndarray:
    return make_picture()
