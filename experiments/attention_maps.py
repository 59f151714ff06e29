"""From recorded attention to maps of a picture: rows, columns, heads put together, rollout over blocks.

`experiments/attention_maps.py` computes what experiments/attention_visualization.py draws. A *row* is where one patch looks:
its attention over all others, sum 1. A *column* is who looks at it. The class token may ask instead of a patch.

Shapes: A attention heads, h w a token grid, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.recorder import AttentionRecord, Recorder
from lib.dpt_model import DPTModel

DIRECTIONS = ("row", "column")
CLASS_TOKEN = "class"
COMBINATIONS = ("mean", "max", "rollout")


def token_at(place: tuple[float, float] | str, grid_hw: tuple[int, int], *, has_class_token: bool) -> int:
    """The number of the token at a place in the picture: (x, y), each from 0 to 1, or CLASS_TOKEN.

    Raises ValueError where there is no class token.
    """
    if place == CLASS_TOKEN:
        if not has_class_token:
            raise ValueError("this encoder has no class token")
        return 0
    row, column = patch_at(place, grid_hw)
    return int(has_class_token) + row * grid_hw[1] + column


def patch_at(place: tuple[float, float], grid_hw: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the patch at a place in the picture: (x, y), each from 0 to 1.

    >>> patch_at((0.99, 0.5), (4, 6))
    (2, 5)
    """
    x, y = place
    rows, columns = grid_hw
    return min(max(int(y * rows), 0), rows - 1), min(max(int(x * columns), 0), columns - 1)


def head_maps(record: AttentionRecord, place: tuple[float, float] | str, *, direction: str) -> tuple[Tensor, Tensor | None]:
    """Every head's map for the token at a place: A x h x w, and its number for the class token (A), or None without one."""
    is_row = direction == "row"
    grid_hw = record.query_grid_hw if is_row else record.key_grid_hw
    token = token_at(place, grid_hw, has_class_token=record.has_class_token)
    values = (record.row(token) if is_row else record.column(token))[0]  # 1 A N -> A N
    return on_grid(values, record.key_grid_hw if is_row else record.query_grid_hw, record.has_class_token)


def on_grid(values: Tensor, grid_hw: tuple[int, int], has_class_token: bool) -> tuple[Tensor, Tensor | None]:
    """A x N numbers of tokens -> those of the patches, A x h x w, and those of the class token (A), or None."""
    patches = values[:, int(has_class_token) :].unflatten(1, grid_hw)  # A N -> A h w
    return patches, values[:, 0] if has_class_token else None


def rollout(
    records: Sequence[AttentionRecord], place: tuple[float, float] | str, *, direction: str
) -> tuple[Tensor, Tensor | None]:
    """Attention through several blocks: 1 x h x w, and the class token's share. records: with one head, in running order.

    "Quantifying attention flow in transformers" (Abnar and Zuidema), section 3: a block passes on half of each token by its
    shortcut and half by its attention, so that the blocks together do what the product of (I + attention) / 2 does. A row
    says what of the picture reached the token at this place, behind the last block; a column, where the patch at this place of
    the first block's grid went. Only one row or column of the product is ever computed. Where Swin merges four tokens into
    one, each of them gets a quarter; LeViT's shrinking attention has no shortcut.
    """
    is_row = direction == "row"
    first = records[-1] if is_row else records[0]
    grid_hw = first.query_grid_hw if is_row else first.key_grid_hw
    has_class_token = first.has_class_token
    token = token_at(place, grid_hw, has_class_token=has_class_token)
    shares = torch.zeros(1, 1, grid_hw[0] * grid_hw[1] + int(has_class_token))
    shares[0, 0, token] = 1.0
    for record in reversed(records) if is_row else records:
        before, after = (record.query_grid_hw, record.key_grid_hw) if is_row else (record.key_grid_hw, record.query_grid_hw)
        if grid_hw != before:
            shares = split_merged(shares, grid_hw, before) if is_row else merge(shares, grid_hw, before)
        moved = record.from_queries(shares) if is_row else record.from_keys(shares)
        shares = (shares + moved) / 2 if record.has_shortcut else moved
        grid_hw = after
    return on_grid(shares[0], grid_hw, has_class_token)


def split_merged(shares: Tensor, coarse_hw: tuple[int, int], fine_hw: tuple[int, int]) -> Tensor:
    """Shares of merged tokens, divided equally among those that were merged: ... x hw -> ... x 4hw."""
    down, across = fine_hw[0] // coarse_hw[0], fine_hw[1] // coarse_hw[1]
    grid = shares.unflatten(-1, coarse_hw) / (down * across)  # ... hw -> ... h w
    return grid.repeat_interleave(down, -2).repeat_interleave(across, -1).flatten(-2)  # -> ... 2h 2w -> ... 4hw


def merge(values: Tensor, fine_hw: tuple[int, int], coarse_hw: tuple[int, int]) -> Tensor:
    """The means of tokens that are merged: ... x 4hw -> ... x hw."""
    down, across = fine_hw[0] // coarse_hw[0], fine_hw[1] // coarse_hw[1]
    grid = values.unflatten(-1, fine_hw)  # ... 4hw -> ... 2h 2w
    return grid.unflatten(-1, (-1, across)).unflatten(-3, (-1, down)).mean((-3, -1)).flatten(-2)  # -> ... h w -> ... hw


@dataclass(frozen=True)
class Attention:
    """What one run of a model left: all heads of one block, and the mean over heads of the blocks up to it.

    names: of all blocks of the model. means: of the blocks 0 to `block`, or nothing where only the block was asked for.
    """

    names: list[str]
    block: int
    record: AttentionRecord
    means: list[AttentionRecord]

    def maps(self, place: tuple[float, float] | str, direction: str, how: str | int) -> np.ndarray:
        """The map (h x w, for a token at a place) of one head, of the "mean" or "max" of all, or of the "rollout"."""
        if how == "rollout":
            return rollout(self.means, place, direction=direction)[0][0].numpy()
        heads, _ = head_maps(self.record, place, direction=direction)
        return (heads.mean(0) if how == "mean" else heads.amax(0) if how == "max" else heads[how]).numpy()


def record_attention(dpt_model: DPTModel, image_tensor: Tensor, block: int, *, with_means: bool = True) -> Attention:
    """Runs a model on one picture (1 x 3 x H x W) and keeps the attention of one block, and the means for the rollout."""
    means = range(block + 1) if with_means else ()
    with Recorder(dpt_model, attention=[block], mean_attention=means) as recorder:
        dpt_model.inference(image_tensor)
    names = [each.name for each in recorder.blocks]
    return Attention(names, block, recorder.attention[block], [recorder.mean_attention[number] for number in means])
