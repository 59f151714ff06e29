"""What training sees (experiments/training: data, sources, augment) follows from numbers alone; depth stays depth."""

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from experiments.datasets import open_dataset
from experiments.training.augment import random_colours, random_crop, random_flip
from experiments.training.data import MixedSource, stream
from experiments.training.sources import NUM_VALIDATION_SCENES, FileSource, ReusedScenes, SceneSource, split_spec
from experiments.training.validation import Example, file_examples, is_trained_on, panel, validate
from lib.dpt_model import OutputKind
from lib.errors import UserError
from lib.image_processor import DPTImageProcessor, PictureRule

SIZE = (20, 30)
CROPS = {"size_hw": SIZE, "crop_scale": (0.3, 1.0), "flip": True}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Scenes:
    """Stands in for experiments/procedural_scenes.py: each scene a ramp of its own colour; sky in the first row."""

    def __init__(self):
        self.rendered = []

    def __call__(self, seeds, height, width, *, device):
        self.rendered += seeds
        values = torch.tensor([seed % 251 for seed in seeds])[:, None, None]
        depth = (1 + torch.arange(float(width)) + values).repeat(1, height, 1)  # B H W
        depth[:, 0] = torch.inf
        images = values.expand(-1, height, width)[:, None].repeat(1, 3, 1, 1) / 255  # B 3 H W
        return SimpleNamespace(images_rgb=images, depth=depth)


@pytest.fixture
def render():
    return Scenes()


@pytest.fixture
def dataset(tmp_path):
    """Seven pictures of 40 x 60, truth of 20 x 30: 1 m for each column of the truth, and 100 for each picture."""
    (tmp_path / "scale.json").write_text('{"scale": 1.0}')
    for number in range(7):
        columns = np.arange(60, dtype=np.float32) * 4
        picture = np.repeat(np.broadcast_to(columns, (40, 60))[..., None], 3, axis=2)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture.astype(np.uint8))
        depth = np.broadcast_to(1 + np.arange(30, dtype=np.float32) + 100 * number, (20, 30)).copy()
        depth[5] = 0  # unknown
        np.save(tmp_path / f"{number}_depth.npy", depth)
    return open_dataset("folder", tmp_path)


def test_crops_keep_picture_and_depth_together():
    """Both are the same ramp here, so a pixel of the picture tells which depth belongs to it."""
    picture = np.repeat(np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))[..., None], 3, axis=2)
    depth = np.tile(np.arange(30, dtype=np.float32), (20, 1))
    for seed in range(50):
        image, found = random_crop(picture, depth, SIZE, rng(seed), scale=(0.2, 1.0))
        assert image.shape == (*SIZE, 3) and found.shape == SIZE
        assert np.abs(image[..., 0] / 8 - 0.25 - found).max() < 1.3  # pixels of the depth
        image, found = random_flip(image, found, rng(seed))
        assert np.abs(image[..., 0] / 8 - 0.25 - found).max() < 1.3


def test_crops_never_invent_depth():
    sparse = np.full((33, 47), np.nan, np.float32)
    sparse[::3, ::5] = rng().choice([1.0, 2.0, np.inf], (11, 10))
    picture = np.zeros((66, 94, 3), np.uint8)
    for seed in range(20):
        _, found = random_crop(picture, sparse, (50, 40), rng(seed), scale=(0.2, 1.0))
        assert set(found[~np.isnan(found)]) <= {1.0, 2.0, np.inf} and np.isnan(found).any()


def test_crops_for_metres_do_not_zoom():
    """A checkerboard of 4 pixels keeps its 4 pixels, wherever a crop of the whole height is taken from."""
    depth = np.tile(np.arange(60, dtype=np.float32), (20, 1))
    lefts = set()
    for seed in range(20):
        _, found = random_crop(np.zeros((20, 60, 3), np.uint8), depth, SIZE, rng(seed), scale=(1, 1))
        assert (np.diff(found[0]) == 1).all()
        lefts.add(found[0, 0])
    assert len(lefts) > 5


def test_a_crop_of_the_same_size_is_the_picture_itself():
    picture = rng().integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    depth = rng().random(SIZE)
    image, found = random_crop(picture, depth, SIZE, rng(), scale=(1, 1))
    assert np.array_equal(image, picture) and np.array_equal(found, depth)


def test_colours_change_within_bounds_and_each_picture_alone():
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = random_colours(images, [rng(seed) for seed in range(6)], 1.0)
    assert changed.shape == images.shape and 0 <= changed.min() and changed.max() <= 1
    assert all((changed[i] - images[i]).abs().max() > 0.02 for i in range(6))
    assert torch.allclose(changed[3:4], random_colours(images[3:4], [rng(3)], 1.0))
    assert torch.equal(random_colours(images, [], 0.0), images)


def test_grey_comes_and_goes():
    images = torch.rand(300, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    changed = random_colours(images, [rng(seed) for seed in range(300)], 1.0)
    is_grey = (changed.amax(dim=1) - changed.amin(dim=1)).flatten(1).amax(dim=1) < 1e-3
    assert 10 < is_grey.sum() < 60


def test_every_pass_shows_every_picture_once(dataset):
    source = FileSource(dataset, seed=1, **CROPS)
    passes = [[source.index(number) for number in range(first, first + 7)] for first in (0, 7, 14)]
    assert all(sorted(order) == list(range(7)) for order in passes) and len(set(map(tuple, passes))) == 3


def test_a_sample_depends_on_its_number_alone(dataset):
    batch = FileSource(dataset, seed=1, **CROPS).batch(range(8, 14))
    other = FileSource(dataset, seed=1, **CROPS)
    other.batch([3, 20])  # in another order, with other neighbours
    for place, number in ((5, 13), (0, 8)):
        alone = other.batch([number])
        assert torch.equal(alone.images[0], batch.images[place])
        assert torch.equal(alone.depth[0].nan_to_num(), batch.depth[place].nan_to_num())
    different = FileSource(dataset, seed=2, **CROPS).batch(range(8, 14))
    assert not torch.equal(different.images, batch.images)
    assert batch.images.dtype == batch.depth.dtype == torch.float32 and batch.images.shape == (6, 3, *SIZE)


def test_pictures_that_cannot_be_used_are_named_and_skipped(dataset, capfd):
    (dataset.path / "2.png").write_bytes(b"")
    np.save(dataset.path / "4_depth.npy", np.full((20, 30), np.nan))
    np.save(dataset.path / "5_depth.npy", np.ones((30, 20), np.float32))
    batch = FileSource(dataset, seed=0, **CROPS).batch(range(14))
    pictures = {int(value // 100) for value in batch.depth[~batch.depth.isnan()]}
    assert len(batch.images) == 14 and pictures <= {0, 1, 3, 6}
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("Skipped: ") for line in lines)
    assert all(any(name in line for line in lines) for name in ("2.png", "4_depth.npy", "5_depth.npy"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_without_a_usable_picture_is_refused_in_one_sentence(dataset, workers):
    for number in range(7):
        (dataset.path / f"{number}.png").write_bytes(b"")
    batches = stream(FileSource(dataset, seed=0, **CROPS), batch_size=2, numbers=range(3), workers=workers)
    with pytest.raises(UserError, match=r"100 pictures in a row cannot be used; see the messages above$"):
        next(batches)


def test_workers_prepare_the_same_batches(dataset):
    source = MixedSource([FileSource(dataset, seed=1, **CROPS)], seed=0, colour=0.5)
    alone, helped = (list(stream(source, batch_size=2, numbers=[3, 4, 9], workers=workers)) for workers in (0, 2))
    assert len(alone) == 3
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.depth.nan_to_num(), other.depth.nan_to_num())


def test_scenes_for_training_and_validation_differ(render):
    training = SceneSource(seed=0, size_hw=SIZE, render=render)
    training.batch(range(5))
    assert render.rendered == [NUM_VALIDATION_SCENES + number for number in range(5)]
    SceneSource(seed=1, size_hw=SIZE, render=render).batch([0])
    assert render.rendered[-1] > 10**9
    assert training.batch([7]).depth.isinf().any()


def test_reused_scenes(render):
    """Three scenes at a time, each three times: rendered once, whole at first, and then another part of the same."""
    source = ReusedScenes(
        SceneSource(seed=0, size_hw=SIZE, render=render), reuse=3, pool=3, seed=0, crop_scale=(0.3, 1), flip=True
    )
    batches = [source.batch(range(first, first + 3)) for first in range(0, 18, 3)]
    assert [seed - NUM_VALIDATION_SCENES for seed in render.rendered] == list(range(6))
    plain = SceneSource(seed=0, size_hw=SIZE, render=render)
    for pool, first in ((0, 0), (1, 3)):
        expected = plain.batch(range(3 * pool, 3 * pool + 3))
        for again, batch in enumerate(batches[first : first + 3]):
            assert torch.allclose(
                batch.images.amax(dim=(1, 2, 3)), expected.images.amax(dim=(1, 2, 3)), atol=1e-6
            )  # the same scenes
            assert torch.equal(batch.depth, expected.depth) == (again == 0)
    anew = ReusedScenes(
        SceneSource(seed=0, size_hw=SIZE, render=render), reuse=3, pool=3, seed=0, crop_scale=(0.3, 1), flip=True
    )
    assert torch.equal(anew.batch(range(6, 9)).depth, batches[2].depth)  # after a new start in the middle of a pool


def test_mixed_sources_take_turns(render, dataset):
    files = FileSource(dataset, seed=1, **CROPS)
    scenes = SceneSource(seed=0, size_hw=SIZE, render=render)
    mixed = MixedSource([scenes, files], seed=0, colour=0.0).batch([4, 5, 6, 7])
    for place, (source, number) in enumerate([(scenes, 2), (files, 2), (scenes, 3), (files, 3)]):
        expected = source.batch([number])
        assert torch.equal(mixed.images[place], expected.images[0])
        assert torch.equal(mixed.depth[place].nan_to_num(), expected.depth[0].nan_to_num())


def test_what_data_can_be_called():
    assert split_spec("procedural") == ("procedural", "")
    assert split_spec("nyu:C:/data") == ("nyu", "C:/data")
    for spec in ("nyu", "nyu:", "nothing:here", ""):
        with pytest.raises(UserError, match="expected procedural, or one of nyu:PATH"):
            split_spec(spec)


def test_real_scenes_have_what_training_expects():
    batch = MixedSource([SceneSource(seed=0, size_hw=(28, 42))], seed=0, colour=0.5).batch(range(4))
    assert batch.images.shape == (4, 3, 28, 42) and batch.depth.shape == (4, 28, 42)
    assert batch.images.dtype == batch.depth.dtype == torch.float32
    assert 0 <= batch.images.min() and batch.images.max() <= 1 and (batch.depth > 0).all()


class Oracle(torch.nn.Module):
    """Predicts what it is given: the map is written into its input."""

    def __init__(self, is_metric: bool):
        super().__init__()
        self.output = OutputKind(
            "metres" if is_metric else "inverse depth", not is_metric, (0.0, 10.0 if is_metric else torch.inf)
        )

    def inference(self, inputs):
        assert not self.training
        return inputs[:, 0]


@pytest.mark.parametrize("is_metric", [False, True], ids=["relative", "metric"])
def test_validation(is_metric):
    """Exact predictions (for relative models up to scale and shift), and spoilt ones; unknown truth does not count."""
    depth = torch.linspace(1, 9, 24 * 24).reshape(24, 24)
    exact = depth if is_metric else 3 / depth + 5
    spoilt = exact.clone()
    spoilt[:, ::2] *= 2 if is_metric else -1
    truth = depth.numpy().copy()
    truth[0], truth[1] = np.inf, np.nan
    model = Oracle(is_metric).train()
    imgproc = DPTImageProcessor(PictureRule(side=24, multiple=1))
    picture = np.zeros((24, 24, 3), np.uint8)
    examples = [Example(values[None, None].repeat(1, 3, 1, 1), picture, truth) for values in (exact, spoilt)]
    assert validate(model, imgproc, examples[:1]).metrics == pytest.approx({"delta1": 1, "abs_rel": 0}, abs=1e-4)
    both = validate(model, imgproc, examples)
    assert both.metrics["delta1"] < 0.9 and both.metrics["abs_rel"] > 0.1 and model.training
    assert both.panels.shape == (2 * 192, 3 * 192, 3)
    assert (panel(examples[0], exact.numpy(), is_inverse=not is_metric)[8:16, 192:384] == 96).all()  # unknown: grey
    with pytest.raises(UserError, match="no validation picture has truth in range"):
        validate(model, imgproc, [Example(examples[0].inputs, picture, np.full_like(truth, np.inf))])


def test_validation_pictures_of_a_data_set(dataset, capsys):
    imgproc = DPTImageProcessor(PictureRule(side=28, multiple=14))
    (dataset.path / "3.png").write_bytes(b"")
    examples = file_examples(f"folder:{dataset.path}", imgproc, 3, scale=None)
    assert len(examples) == 2 and "3.png" in capsys.readouterr().out  # the first and the last
    assert examples[0].inputs.shape == (1, 3, 28, 42) and examples[1].depth.shape == (20, 30)


def test_validation_on_what_is_trained_on_is_noticed(dataset, tmp_path):
    spec = f"folder:{dataset.path}"
    held_out = tmp_path / "split"
    for split in ("train", "test"):
        shutil.copytree(dataset.path, held_out / split, ignore=shutil.ignore_patterns("split"))
    (held_out / "scale.json").write_text('{"scale": 1.0}')
    assert is_trained_on(spec, ["procedural", spec], scale=None)
    assert not is_trained_on(spec, ["procedural"], scale=None) and not is_trained_on("procedural", [spec], scale=None)
    assert not is_trained_on(f"folder:{held_out}", [f"folder:{held_out}"], scale=None)
