"""Several processes that train one model: what `torchrun` says about them, and what they tell each other."""

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.demo.device import choose_placement


class Processes:
    """This process among those that `torchrun` started together; on its own without torchrun. Use with `with`."""

    def __init__(self, device: str | None):
        self.count = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        self.is_first = self.rank == 0
        if self.count > 1 and (device or "cuda") == "cuda" and torch.cuda.is_available():
            device = f"cuda:{os.environ['LOCAL_RANK']}"  # one GPU each
        self.device = choose_placement(device, use_float32=True).device

    def __enter__(self) -> "Processes":
        if self.count > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    def __exit__(self, *_) -> None:
        if self.count > 1:
            dist.destroy_process_group()

    def mean(self, value: Tensor) -> float:
        """The mean of a number over all processes, the same for all of them."""
        if self.count > 1:
            dist.all_reduce(value)
            value = value / self.count
        return value.item()

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, with gradients that are averaged over the processes."""
        return DistributedDataParallel(model) if self.count > 1 else model
