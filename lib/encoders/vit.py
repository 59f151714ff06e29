"""The plain vision transformer, as ViT and as DINOv2: one resolution from the first block to the last.

Shapes: B batch, h w patch grid, N = h * w patch tokens, C features.

Papers: "An image is worth 16x16 words" (ViT), "DINOv2: learning robust visual features without supervision".
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import TransformerBlock, WeightCache, check_taps


def resize_position_table(table: Tensor, grid_hw: tuple[int, int], *, mode: str, offset: float) -> Tensor:
    """Positions for a patch grid of any size, from the learned table of a square grid.

    The table says where a patch was in the pictures of the pre-training: one vector per cell of, say, a 37 x 37 grid.
    For another grid it is treated as a small picture with C channels and resized. On a 2 x 2 table with one feature,

        [[0, 2],     resized to 2 x 4     [[-0.21, 0.45, 1.55, 2.21],
         [4, 6]]     (bicubic, offset 0)   [ 3.79, 4.45, 5.55, 6.21]]

    so the left-most patch of a wider picture is told almost the same position as the left-most patch before.

    offset is a quirk of the DINOv2 release: it asks for (rows + 0.1) / table rows as the scale, to be safe from
    rounding, and the resampling then really uses that slightly wrong scale. The released weights expect it. Zero means
    exact scales, as `transformers` computes them. A grid of the table's own size is never resampled.

    table: 1 x N x C without the class token; mode: "bicubic" or "bilinear". Returns 1 x (rows * columns) x C in the
    table's dtype; the arithmetic is float32 whatever that is.
    """
    side = math.isqrt(table.shape[1])
    rows, columns = grid_hw
    if (rows, columns) == (side, side):
        return table
    picture = table.float().unflatten(1, (side, side)).permute(0, 3, 1, 2)  # 1 N C -> 1 C side side
    if offset:
        scales = ((rows + offset) / side, (columns + offset) / side)
        resized = F.interpolate(picture, scale_factor=scales, mode=mode)  # 1 C side side -> 1 C h w
    else:
        resized = F.interpolate(picture, size=grid_hw, mode=mode)  # 1 C side side -> 1 C h w
    return resized.flatten(2).transpose(1, 2).to(table.dtype)  # 1 C h w -> 1 N C


class ViTEncoder(nn.Module):
    """Adds the class token and the positions, runs the blocks, and taps four of them.

    taps: the numbers (from 0) of the blocks whose output becomes a stage.
    final_norm: each stage goes through the encoder's last LayerNorm (DINOv2); otherwise it is taken as it is (MiDaS).
    """

    def __init__(
        self,
        *,
        features: int,
        heads: int,
        hidden: int,
        num_blocks: int,
        taps: Sequence[int],
        table_side: int,
        norm_eps: float = 1e-6,
        feed_forward: str = "gelu",
        layer_scale: bool = True,
        final_norm: bool = True,
        position_mode: str = "bicubic",
        position_offset: float = 0.1,
    ):
        super().__init__()
        check_taps(taps, num_blocks)
        if position_mode not in ("bicubic", "bilinear") or not 0 <= position_offset < 1:
            raise ValueError(f"unknown settings: {position_mode=}, {position_offset=}")
        self.taps = tuple(taps)
        self.num_stages = len(self.taps)
        self.position_mode = position_mode
        self.position_offset = position_offset
        self.class_token = nn.Parameter(torch.zeros(1, 1, features))
        self.position_table = nn.Parameter(torch.zeros(1, 1 + table_side**2, features))
        self.position_cache = WeightCache()
        self.blocks = nn.ModuleList(
            TransformerBlock(
                features=features,
                heads=heads,
                hidden=hidden,
                norm_eps=norm_eps,
                layer_scale=layer_scale,
                feed_forward=feed_forward,
            )
            for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(features, eps=norm_eps) if final_norm else nn.Identity()

    def positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """The position encoding of the class token and of every patch of the grid: 1 x (1 + N) x C."""

        def compute() -> Tensor:
            for_class, for_patches = self.position_table[:, :1], self.position_table[:, 1:]
            resized = resize_position_table(
                for_patches, grid_hw, mode=self.position_mode, offset=self.position_offset
            )
            return torch.cat([for_class, resized], dim=1)

        key = (grid_hw, self.position_mode, self.position_offset)
        return self.position_cache(compute, weights=[self.position_table], key=key)

    def forward(self, tokens: Tensor, grid_hw: tuple[int, int]) -> list[Tensor]:
        """B x N x C patch tokens -> four stages, each B x (1 + N) x C with the class token first."""
        class_token = self.class_token.expand(tokens.shape[0], -1, -1)
        tokens = torch.cat([class_token, tokens], dim=1)  # B N C -> B 1+N C
        tokens = tokens + self.positions(grid_hw)
        stages = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.taps:
                stages.append(self.norm(tokens))
        return stages
