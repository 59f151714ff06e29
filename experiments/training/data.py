"""What training sees: samples numbered from 0 without end, and batches of them made in the background.

Shapes: B pictures of a batch, H W their common size.

Everything about sample number n (which picture, which crop, which colours) follows from the seed and n alone. So a run
can stop and go on at any number, and processes and workers can share the numbers between them, without any of it
changing what is seen. Where samples come from: experiments/training/sources.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from experiments.training.augment import random_colours
from lib.errors import UserError


class Batch(NamedTuple):
    """images: B x 3 x H x W RGB between 0 and 1. depth: B x H x W metres, infinity for sky, NaN where unknown."""

    images: Tensor
    depth: Tensor


class Source(Protocol):
    """Where samples come from: `batch(numbers)` gives those with these numbers, their colours as they are."""

    def batch(self, numbers: Sequence[int]) -> Batch: ...


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


class MicroBatches(Dataset):
    """Numbered batches for a DataLoader. An error of the user's comes back as its message: workers would garble it."""

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
