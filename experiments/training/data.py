"""What training sees: samples numbered from 0 without end, and batches of them made in the background.

Shapes: B pictures of a batch, H W their common size.

Everything about sample number n (which picture, which crop, which colours) follows from the seed and n alone. So a run can stop and
go on at any number, and processes and workers can share the numbers between them, without any of it changing what is seen.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from experiments.datasets import DATASET_KINDS, DepthDataset, PairSample, SampleError, open_dataset
from experiments.training.augment import random_colours, random_crop, random_flip
from lib.errors import UserError

NUM_VALIDATION_SCENES = 10_000  # seeds below this are kept for validation
SEEDS_PER_RUN = 10**9  # how far apart the scenes of two --seed values begin
MOST_UNUSABLE = 100  # pictures in a row; then something is wrong with the data set as a whole


class Batch(NamedTuple):
    """images: B x 3 x H x W RGB between 0 and 1. depth: B x H x W metres, infinity for sky, NaN where nothing is known."""

    images: Tensor
    depth: Tensor


class Source(Protocol):
    """Where samples come from: `batch(numbers)` gives those with these numbers, their colours as they are."""

    def batch(self, numbers: Sequence[int]) -> Batch: ...


RenderScenes = Callable[..., object]  # experiments.procedural_scenes.render_scenes, or another with its arguments


class SceneSource:
    """Procedural scenes, each seen once. render: makes them; the default is experiments/procedural_scenes.py."""

    def __init__(self, *, seed: int, size_hw: tuple[int, int], device: str = "cpu", render: RenderScenes | None = None):
        self.first_seed = NUM_VALIDATION_SCENES + seed * SEEDS_PER_RUN
        self.size_hw, self.device, self._render = size_hw, device, render

    def batch(self, numbers: Sequence[int]) -> Batch:
        return self.scenes([self.first_seed + number for number in numbers])

    def scenes(self, seeds: Sequence[int]) -> Batch:
        """The scenes with these seeds themselves."""
        if self._render is None:
            from experiments.procedural_scenes import render_scenes

            self._render = render_scenes
        scenes = self._render(list(seeds), *self.size_hw, device=self.device)
        return Batch(scenes.images_rgb, scenes.depth)


class ReusedScenes:
    """Procedural scenes, each seen several times: for machines that train faster than they render.

    `pool` scenes are seen one after the other, then again, `reuse` times in all, before the next pool begins; every time but
    the first they are cropped and flipped at random. What is in memory (about 5 bytes for each pixel) is only a cache: after a new start
    scenes are rendered again as they are needed, and look the same.
    """

    def __init__(
        self, source: SceneSource, *, reuse: int, pool: int, seed: int, crop_scale: tuple[float, float], flip: bool
    ):
        self.source, self.reuse, self.pool, self.seed = source, reuse, pool, seed
        self.crop_scale, self.flip = crop_scale, flip
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # scene: H W 3 uint8 RGB, H W float16 metres

    def batch(self, numbers: Sequence[int]) -> Batch:
        scenes = [number // (self.pool * self.reuse) * self.pool + number % self.pool for number in numbers]
        for old in [scene for scene in self._cache if scene // self.pool < min(scenes) // self.pool]:
            del self._cache[old]
        missing = [scene for scene in dict.fromkeys(scenes) if scene not in self._cache]
        if missing:
            self._render(missing)
        samples = [self._vary(number, *self._cache[scene]) for number, scene in zip(numbers, scenes, strict=True)]
        return stack_samples(samples)

    def _render(self, scenes: Sequence[int]) -> None:
        batch = self.source.batch(scenes)
        images = (batch.images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # B 3 H W -> B H W 3
        with np.errstate(over="ignore"):  # depth beyond 65 km becomes sky
            depths = batch.depth.cpu().numpy().astype(np.float16)
        self._cache |= {scene: (image, depth) for scene, image, depth in zip(scenes, images, depths, strict=True)}

    def _vary(self, number: int, image: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        depth = depth.astype(np.float32)
        if number % (self.pool * self.reuse) < self.pool:  # the first time
            return image, depth
        rng = generator(self.seed, number, 3)
        image, depth = random_crop(image, depth, depth.shape, rng, scale=self.crop_scale)
        return random_flip(image, depth, rng) if self.flip else (image, depth)


class FileSource:
    """A data set's pictures in an order that is shuffled anew for every pass, each cropped and flipped at random.

    A picture that cannot be used is named once on stderr, and the next in the order takes its place.
    """

    def __init__(
        self, dataset: DepthDataset, *, seed: int, size_hw: tuple[int, int], crop_scale: tuple[float, float], flip: bool
    ):
        self.dataset, self.seed, self.size_hw, self.crop_scale, self.flip = dataset, seed, size_hw, crop_scale, flip
        self._reported: set[int] = set()
        self._pass, self._order = -1, np.empty(0, int)

    def batch(self, numbers: Sequence[int]) -> Batch:
        return stack_samples([self.sample(number) for number in numbers])

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """H x W x 3 uint8 RGB and H x W float32 metres."""
        rng = generator(self.seed, number, 0)
        for attempt in range(MOST_UNUSABLE):
            index = self.index(number + attempt)
            try:
                sample = self.dataset[index]
                if isinstance(sample, PairSample):
                    raise UserError(f"{self.dataset.path}: ordered pairs of points cannot be trained on")
            except SampleError as error:
                self._report(index, str(error))
                continue
            image_rgb = sample.image_bgr[..., ::-1]
            image, depth = random_crop(image_rgb, sample.depth, self.size_hw, rng, scale=self.crop_scale)
            return random_flip(image, depth, rng) if self.flip else (image, depth)
        raise UserError(f"{self.dataset.path}: {MOST_UNUSABLE} pictures in a row cannot be used; see the messages above")

    def index(self, number: int) -> int:
        """Which picture of the data set sample `number` is."""
        which_pass, position = divmod(number, len(self.dataset))
        if which_pass != self._pass:
            self._pass = which_pass
            self._order = generator(self.seed, which_pass, 1).permutation(len(self.dataset))
        return int(self._order[position])

    def _report(self, index: int, reason: str) -> None:
        if index not in self._reported:
            self._reported.add(index)
            print(f"Skipped: {reason}", file=sys.stderr, flush=True)


def stack_samples(samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Pictures, H x W x 3 uint8 RGB, with their depth, as one batch."""
    images = np.stack([image for image, _ in samples]).transpose(0, 3, 1, 2)  # B H W 3 -> B 3 H W
    depth = np.stack([depth for _, depth in samples])
    return Batch(torch.from_numpy(np.ascontiguousarray(images)).float() / 255, torch.from_numpy(depth))


def generator(seed: int, number: int, purpose: int) -> np.random.Generator:
    """Random numbers that depend on these three alone."""
    return np.random.default_rng([seed, number, purpose])


class MixedSource:
    """Sample n comes from source n modulo their number; then its colours are changed."""

    def __init__(self, sources: Sequence[Source], *, seed: int, colour: float):
        self.sources, self.seed, self.colour = sources, seed, colour

    def batch(self, numbers: Sequence[int]) -> Batch:
        count = len(self.sources)
        parts, places = [], []
        for which, source in enumerate(self.sources):
            chosen = [place for place, number in enumerate(numbers) if number % count == which]
            if chosen:
                parts.append(source.batch([numbers[place] // count for place in chosen]))
                places += chosen
        order = torch.tensor(places).argsort()
        images = torch.cat([part.images for part in parts])
        depth = torch.cat([part.depth for part in parts])
        order = order.to(images.device)
        rngs = [generator(self.seed, number, 2) for number in numbers]
        return Batch(random_colours(images[order], rngs, self.colour), depth[order])


def split_spec(spec: str) -> tuple[str, str]:
    """What --data takes: "procedural" or "KIND:PATH" -> (kind, path). Raises UserError."""
    kind, colon, path = spec.partition(":")
    if spec == "procedural" or (colon and path and kind in DATASET_KINDS):
        return kind, path
    kinds = ", ".join(f"{kind}:PATH" for kind in DATASET_KINDS if kind != "da2k")
    raise UserError(f"--data {spec}: expected procedural, or one of {kinds}")


def open_and_report(spec: str, *, split: str, scale: float | None) -> DepthDataset:
    """The data set that a "KIND:PATH" names; rows of its list that cannot be used are printed."""
    kind, path = split_spec(spec)
    dataset = open_dataset(kind, path, split=split, scale=scale if kind == "folder" else None)
    for problem in dataset.problems:
        print(f"Skipped: {problem}", file=sys.stderr)
    return dataset


class MicroBatches(Dataset):
    """Numbered batches for a DataLoader. An error of the user's comes back as its message, since workers would garble it."""

    def __init__(self, source: Source, batch_size: int):
        self.source, self.batch_size = source, batch_size

    def __getitem__(self, number: int) -> Batch | str:
        first = number * self.batch_size
        try:
            return self.source.batch(range(first, first + self.batch_size))
        except UserError as error:
            return str(error)


def stream(source: Source, *, batch_size: int, numbers: Iterable[int], workers: int) -> Iterator[Batch]:
    """Batch after batch, in the order of `numbers`: batch k holds the samples from k * batch_size on.

    workers: processes that prepare batches in the background; 0 prepares each when it is asked for, in this process.
    """
    loader = DataLoader(
        MicroBatches(source, batch_size),
        batch_size=None,  # the data set gives whole batches
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=init_worker,
    )
    for batch in loader:
        if isinstance(batch, str):
            raise UserError(batch)
        yield batch


def init_worker(number: int) -> None:
    """One thread for each worker: they are as many as there should be."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
