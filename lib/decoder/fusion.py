"""Fusion: from the coarsest map to the finest, adding each map's detail on the way (DPT paper, figure 1, right).

The blocks are those of RefineNet: residual convolution units, an upsampling and a projection.

Shapes: B batch, M width of the fusion, and for each map its own height and width.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualUnit(nn.Module):
    """map + conv(relu(conv(relu(map)))), all at one size and width."""

    def __init__(self, features: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(features, features, kernel_size=3, padding=1)
        self.conv_2 = nn.Conv2d(features, features, kernel_size=3, padding=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """B x M x height x width -> the same shape."""
        return feature_map + self.conv_2(F.relu(self.conv_1(F.relu(feature_map))))


class FusionBlock(nn.Module):
    """Adds one map of the pyramid to what came from below, refines, and enlarges to the next finer map's size."""

    def __init__(self, features: int, *, is_coarsest: bool):
        super().__init__()
        # Nothing comes from below the coarsest map, so there is nothing to refine it for: releases carry weights for
        # this unit too, but never run it.
        self.refine_skip = None if is_coarsest else ResidualUnit(features)
        self.refine = ResidualUnit(features)
        self.project = nn.Conv2d(features, features, kernel_size=1)

    def forward(self, coarser: Tensor | None, feature_map: Tensor, output_hw: tuple[int, int]) -> Tensor:
        """coarser (or None) and feature_map, both B x M x height x width -> B x M x output_hw."""
        fused = feature_map if coarser is None else coarser + self.refine_skip(feature_map)
        # The releases enlarge first and project then. A 1x1 convolution and a bilinear enlargement (whose weights sum
        # to one at every pixel) may change places; this way round the convolution costs a quarter.
        fused = self.project(self.refine(fused))
        return F.interpolate(fused, size=output_hw, mode="bilinear", align_corners=True)


class Fusion(nn.Module):
    """The chain of fusion blocks. `blocks[0]` belongs to the finest map, as in the releases' refinenet1."""

    def __init__(self, *, features: int, num_stages: int = 4):
        super().__init__()
        self.blocks = nn.ModuleList(
            FusionBlock(features, is_coarsest=(stage == num_stages - 1)) for stage in range(num_stages)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps of B x M x (their size), finest first -> one map of B x M x (twice the finest size)."""
        height, width = maps[0].shape[-2:]
        # Each result must fit the next finer map exactly. That is twice the size on even grids; on an odd one
        # (37 x 37, halved to 19 x 19) it is not, and following the map is what the releases do too.
        output_sizes = [(2 * height, 2 * width)] + [finer.shape[-2:] for finer in maps[:-1]]
        fused = None
        for block, feature_map, output_hw in reversed(list(zip(self.blocks, maps, output_sizes, strict=True))):
            fused = block(fused, feature_map, output_hw)
        return fused
