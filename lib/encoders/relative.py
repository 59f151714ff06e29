"""Relative positions: what BEiT and Swin have in common. A bias for every pair of tokens, looked up by their offset.

Shapes: h w grid, A attention heads, T tokens, R offsets in a table.

The index trick on a 2 x 3 grid. Its six tokens are numbered row by row,

    0 1 2
    3 4 5

and two of them are between -1 and 1 rows and between -2 and 2 columns apart: 3 x 5 = 15 offsets, so one learned table of 15
numbers per head serves all 36 pairs. The offset (query - key) of rows dy and columns dx has the number
(dy + 1) * 5 + (dx + 2). From token 0 to token 0 that is 1 * 5 + 2 = 7, the middle of the table; from token 5 to token 0 it is
(1 + 1) * 5 + (2 + 2) = 14, the last entry; from 0 to 5 it is 0, the first:

>>> offset_index((2, 3))
tensor([[ 7,  6,  5,  2,  1,  0],
        [ 8,  7,  6,  3,  2,  1],
        [ 9,  8,  7,  4,  3,  2],
        [12, 11, 10,  7,  6,  5],
        [13, 12, 11,  8,  7,  6],
        [14, 13, 12,  9,  8,  7]])

Along every diagonal of a block the same number returns: the same offset means the same bias, wherever the pair is.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, wraps

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..quick_cpu import is_in_graph
from .layers import WeightCache


def remember_by_size(max_entries: int) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorator: remember the last results of a function of a size and a device, such as an index table.

    They are ordinary tensors even when they are first needed inside `torch.inference_mode()`, so that training may use them
    later. While PyTorch compiles or exports, nothing is remembered: its placeholder tensors must not stay here.
    """

    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @lru_cache(max_entries)
        def remembered(*arguments) -> Tensor:
            with torch.inference_mode(False):
                return function(*arguments)

        @wraps(function)
        def wrapper(*arguments) -> Tensor:
            if is_in_graph():
                return function(*arguments)
            return remembered(*arguments)

        wrapper.remembered = remembered  # for its size, and to empty it
        return wrapper

    return decorate


def offset_index(grid_hw: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """For each pair (query, key) of a grid's tokens, the number of their offset in a table: T x T, T = h * w."""
    rows, columns = grid_hw
    sides = [torch.arange(side, device=device) for side in grid_hw]
    y, x = (place.flatten() for place in torch.meshgrid(*sides, indexing="ij"))  # T each
    dy = y[:, None] - y[None, :] + rows - 1  # T T, from 0
    dx = x[:, None] - x[None, :] + columns - 1  # T T, from 0
    return dy * (2 * columns - 1) + dx


def resize_offset_table(table: Tensor, old_hw: tuple[int, int], new_hw: tuple[int, int]) -> Tensor:
    """The table of a grid of old_hw for a grid of new_hw, bilinearly: R x A -> (2h - 1)(2w - 1) x A.

    An offset table is a small picture, (2h - 1) x (2w - 1) with A channels; enlarging it keeps the outermost offsets
    outermost. The arithmetic is float32, the result has the table's dtype.
    """
    if old_hw == new_hw:
        return table
    old_sides, new_sides = ([2 * side - 1 for side in hw] for hw in (old_hw, new_hw))
    picture = table.float().unflatten(0, old_sides).permute(2, 0, 1)[None]  # R A -> 1 A 2h-1 2w-1
    resized = F.interpolate(picture, size=new_sides, mode="bilinear")  # 1 A . . -> 1 A . .
    return resized[0].flatten(1).T.to(table.dtype)  # 1 A . . -> R A


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """R x A table and T x T index -> A x T x T bias, laid out so that fused attention can read it as it is.

    CUDA's memory-efficient attention copies a bias whose rows do not begin on multiples of 16 numbers. There, the rows are
    stored with padding that is never looked at, so that the bias exists once.
    """
    if table.is_cuda and index.shape[1] % 16:
        index = F.pad(index, (0, -index.shape[1] % 16))  # T T -> T T+
        return table.T[:, index][..., : index.shape[0]]  # R A -> A T T
    return table.T[:, index]  # R A -> A T T


class BiasCache(nn.Module):
    """Remembers a bias that is made in two steps: a small table, and the full bias that is looked up in it.

    The full bias is large: one number for every head and pair of tokens. With `keep_full_bias` it is remembered for the
    last grid size; without, only the table is (more than a hundred times smaller), and the look-up is done at each call.
    """

    def __init__(self):
        super().__init__()
        self.keep_full_bias = True
        self.cache = WeightCache(max_entries=1)

    def forward(
        self,
        make_table: Callable[[], Tensor],
        spread: Callable[[Tensor], Tensor],
        *,
        weights: Sequence[Tensor],
        key: Hashable,
    ) -> Tensor:
        """spread(make_table()). weights: what the table depends on; key: everything else that the bias depends on."""
        if self.keep_full_bias:
            return self.cache(lambda: spread(make_table()), weights=weights, key=("bias", key))
        return spread(self.cache(make_table, weights=weights, key=("table", key)))
