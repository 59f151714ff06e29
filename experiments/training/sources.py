"""Where samples come from: procedural scenes, and data sets of pictures with measured depth.

Shapes: B pictures of a batch, H W their common size.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np

from experiments.datasets import DATASET_KINDS, DepthDataset, PairSample, SampleError, open_dataset
from experiments.training.augment import random_crop, random_flip
from experiments.training.data import Batch, MixedSource, generator, stack_samples
from lib.errors import UserError

MOST_SOURCES = 100
NUM_VALIDATION_SCENES = 10_000  # seeds below this are kept for validation
SEEDS_PER_RUN = 10**9  # how far apart the scenes of two --seed values begin
MOST_UNUSABLE = 100  # pictures in a row; then something is wrong with the data set as a whole


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

    `pool` scenes are seen one after the other, then again, `reuse` times in all, before the next pool begins; every
    time but the first they are cropped and flipped at random. What is in memory (about 5 bytes for each pixel) is only
    a cache: after a new start scenes are rendered again as they are needed, and look the same.
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
        raise UserError(
            f"{self.dataset.path}: {MOST_UNUSABLE} pictures in a row cannot be used; see the messages above"
        )

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


def split_spec(spec: str) -> tuple[str, str]:
    """What --data takes: "procedural" or "KIND:PATH" -> (kind, path). Raises UserError."""
    kind, colon, path = spec.partition(":")
    if spec == "procedural" or (colon and path and kind in DATASET_KINDS):
        return kind, path
    kinds = ", ".join(f"{kind}:PATH" for kind in DATASET_KINDS if kind != "da2k")
    raise UserError(f"--data {spec}: expected procedural, or one of {kinds}")


def open_spec(spec: str, *, split: str, scale: float | None) -> DepthDataset:
    """The data set that a "KIND:PATH" names. scale: of those kinds that take one."""
    kind, path = split_spec(spec)
    return open_dataset(kind, path, split=split, scale=scale if kind == "folder" else None)


def open_and_report(spec: str, *, split: str, scale: float | None) -> DepthDataset:
    """The same; rows of its list that cannot be used are printed."""
    dataset = open_spec(spec, split=split, scale=scale)
    for problem in dataset.problems:
        print(f"Skipped: {problem}", file=sys.stderr)
    return dataset


def make_source(args: argparse.Namespace, *, num_processes: int) -> MixedSource:
    """All that --data names, mixed."""
    size_hw = tuple(args.size)
    crop_scale = tuple(args.crop_scale or ((1.0, 1.0) if args.loss == "silog" else (0.4, 1.0)))
    if crop_scale[0] > crop_scale[1] or crop_scale[0] <= 0:
        raise UserError(f"--crop_scale {crop_scale[0]:g} {crop_scale[1]:g}: expected 0 < LOW <= HIGH <= 1")
    at_once = args.batch_size * args.accumulate * max(args.workers, 1) * num_processes
    if args.reuse > 1 and args.pool % at_once:
        raise UserError(
            f"--pool {args.pool}: must be a multiple of {at_once} (batch_size x accumulate x workers x processes), "
            "so that every worker sees the scenes again that it rendered"
        )
    if args.render_device != "cpu" and args.workers:
        raise UserError("--render_device: workers can only render on the CPU; pass --workers 0")
    sources = []
    for number, spec in enumerate(args.data):
        seed = args.seed * MOST_SOURCES + number
        if split_spec(spec)[0] == "procedural":
            scenes = SceneSource(seed=seed, size_hw=size_hw, device=args.render_device)
            variety = {"seed": seed, "crop_scale": crop_scale, "flip": args.flip}
            sources.append(
                ReusedScenes(scenes, reuse=args.reuse, pool=args.pool, **variety) if args.reuse > 1 else scenes
            )
        else:
            dataset = open_and_report(spec, split="train", scale=args.scale)
            sources.append(FileSource(dataset, seed=seed, size_hw=size_hw, crop_scale=crop_scale, flip=args.flip))
    return MixedSource(sources, seed=args.seed, colour=args.colour)
