"""Writing tiny data sets, for the tests of the programs that train and evaluate."""

import json
from pathlib import Path

import cv2
import numpy as np

from tests.conftest import make_picture


def write_image(path: Path, image: np.ndarray) -> Path:
    """Any array that OpenCV encodes, in the format of the path's suffix, at any path (cv2.imwrite fails on some)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(path.suffix, image)
    encoded.tofile(path)
    return path


def make_depth(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Metres, H x W float32: a wall above a floor that comes nearer, a box before them, a hole in the truth."""
    rng = np.random.default_rng(seed)
    rows = np.linspace(0, 1, height)[:, None]
    depth = np.repeat(1 / (0.2 + 0.5 * np.maximum(rows - 0.3, 0)), width, axis=1)
    top, left = rng.integers(height // 4, height // 2), rng.integers(0, width // 2)
    depth[top : top + height // 3, left : left + width // 3] = rng.uniform(1, 1.5)
    depth[:3, :5] = np.nan
    return depth.astype(np.float32)


def write_rgbd(
    folder: Path,
    name: str,
    *,
    depth: np.ndarray | None = None,
    image: np.ndarray | None = None,
    meta: dict | None = None,
) -> Path:
    """One sample in the layout "rgbd", in millimetres; returns its folder. meta: changes of meta.json."""
    depth = make_depth() if depth is None else depth
    image = make_picture(*depth.shape) if image is None else image
    sample = folder / name
    write_image(sample / "image.png", image)
    write_image(sample / "gt.png", np.nan_to_num(depth * 1000).round().astype(np.uint16))
    usual = {"name": name, "image": "image.png", "gt": "gt.png", "kind": "depth_m", "scale": 0.001}
    (sample / "meta.json").write_text(json.dumps(usual | (meta or {})), encoding="utf-8")
    return sample


def write_rgbd_set(folder: Path, count: int = 7) -> Path:
    """So many different samples, 00, 01, ..."""
    for number in range(count):
        write_rgbd(folder, f"{number:02d}", depth=make_depth(seed=number), image=make_picture(48, 64, seed=number))
    return folder
