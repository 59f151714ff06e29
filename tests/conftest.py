"""What several test files use: synthetic weight files in the releases' layouts, goldens, small models, a picture."""

import copy
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lib.demo.engines import CACHE_VARIABLE
from tests.reference import synthetic_checkpoint

torch.set_num_threads(1)  # the models are tiny: more threads spend their time waiting for each other

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDENS = REPOSITORY / "tests" / "reference" / "goldens"
SAME = 1e-4  # "the same numbers": largest difference from a reference, in standard deviations of the reference


@dataclass(frozen=True)
class Golden:
    """One stored run of an original implementation: `image` in, every `stride`-th row and column of its map out."""

    image: torch.Tensor
    stored: np.ndarray
    stride: int
    std: float

    def error(self, prediction: torch.Tensor) -> float:
        """Largest difference between a map (H x W) and the stored one, in standard deviations of the whole map."""
        assert prediction.shape == self.image.shape[-2:]
        ours = prediction[:: self.stride, :: self.stride].float().numpy()
        return float(np.abs(ours - self.stored).max() / self.std)


def golden_cases(prefix: str) -> list[tuple[str, str]]:
    """(manifest name, "HxW") of every golden whose name begins like this, of those that store one map for each size."""
    files = sorted(GOLDENS.glob(f"{prefix}*.npz"))
    keys = [(file.stem, key) for file in files for key in np.load(file).files]
    return [(name, key) for name, key in keys if not key.endswith("_meta") and "/" not in key]


def read_golden(name: str, size: str) -> Golden:
    """size: "HxW", a key of goldens/NAME.npz."""
    arrays = np.load(GOLDENS / f"{name}.npz")
    seed, stride, _, std = arrays[f"{size}_meta"]
    height, width = map(int, size.split("x"))
    image = synthetic_checkpoint.model_input(name, height, width, seed=int(seed))
    return Golden(image=image, stored=arrays[size], stride=int(stride), std=float(std))


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference in standard deviations of the reference."""
    assert ours.shape == reference.shape
    return float((ours.float() - reference.float()).abs().max() / reference.float().std())


def small_state_dict(num_blocks: int = 4) -> dict[str, torch.Tensor]:
    """The first blocks of the tiny Depth-Anything V2: for tests that load or run very often."""
    tensors = synthetic_checkpoint.build("tiny_depth_anything_v2")
    numbers = {key: int(key.split(".")[2]) for key in tensors if key.startswith("pretrained.blocks.")}
    return {key: tensor for key, tensor in tensors.items() if numbers.get(key, 0) < num_blocks}


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory):
    """What engines are exported into: never the folder of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("engines")))
        yield


@pytest.fixture(scope="session")
def weight_file(tmp_path_factory):
    """weight_file(NAME) -> path of NAME.pth: the synthetic checkpoint of reference/manifests/NAME.json (seed 0)."""
    folder = tmp_path_factory.mktemp("weights")

    def build(name: str) -> Path:
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.save(synthetic_checkpoint.build(name), path)
        return path

    return build


@pytest.fixture(scope="session")
def family_file(tmp_path_factory):
    """family_file(FAMILY) -> a small weight file of that family, one of tests.inspection_files.FAMILIES."""
    from tests.inspection_files import family_files

    return family_files(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="session")
def tiny_v2(weight_file) -> Path:
    """A small Depth-Anything V2 weight file (12 blocks of 128 features)."""
    return weight_file("tiny_depth_anything_v2")


GARBAGE = [None, "text", -1, 0, 0.5, 10**12, [], {}, [[]], True, ...]  # the last: leave it out


def paths_in(config: dict, prefix: tuple = ()) -> list[tuple]:
    """The keys that lead to each value of a nested dictionary, sections included."""
    found = []
    for name, value in config.items():
        found.append((*prefix, name))
        if isinstance(value, dict):
            found += paths_in(value, (*prefix, name))
    return found


def with_garbage(config: dict, paths: Iterable[tuple]) -> Iterator[tuple[tuple, dict]]:
    """For each of the paths and each kind of garbage: the path, and a copy of the config with garbage there."""
    for path in paths:
        for value in GARBAGE:
            changed = copy.deepcopy(config)
            section = changed
            for name in path[:-1]:
                section = section[name]
            section[path[-1]] = value
            if value is ...:
                del section[path[-1]]
            yield path, changed


@pytest.fixture(scope="session")
def small_file(tmp_path_factory) -> Path:
    """A weight file of four blocks, named so that its type needs no assumption."""
    path = tmp_path_factory.mktemp("small") / "depth_anything_v2_small.pth"
    torch.save(small_state_dict(), path)
    return path


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


@pytest.fixture
def hub(monkeypatch):
    """A Hugging Face hub on this machine, which downloads go to."""
    from tests.hub_server import running_hub

    with running_hub(monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """A virtual screen, for tests of windows; they are skipped where there cannot be one."""
    from tests.virtual_screen import virtual_screen

    if not sys.platform.startswith("linux") or "QT" not in str(cv2.currentUIFramework()):
        pytest.skip("these tests know the windows of OpenCV's Linux wheels")
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with virtual_screen(tmp_path_factory.mktemp("screen")) as screen:
        yield screen


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where downloaded weights go: it does not exist yet, and its name is not ASCII."""
    return tmp_path / "Gewichte für 深度"


@pytest.fixture
def serve(tmp_path):
    """serve(...) starts a server of the 3D viewer, see `viewer_servers`."""
    from tests.viewer_stub import viewer_servers

    with viewer_servers(tmp_path) as start:
        yield start
