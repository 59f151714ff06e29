"""Fusion: from the coarsest map to the finest, adding each map's detail on the way (DPT paper, figure 1, right).

The blocks are those of RefineNet: residual convolution units, an upsampling and a projection.

Shapes: B batch, M width of the fusion, and for each map its own height and width.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualUnit(nn.Module):
    """map + conv(relu(conv(relu(map)))), all at one size and width. batch_norm: one behind each convolution."""

    def __init__(self, features: int, *, bias: bool, batch_norm: bool):
        super().__init__()
        self.conv_1 = nn.Conv2d(features, features, kernel_size=3, padding=1, bias=bias)
        self.norm_1 = nn.BatchNorm2d(features) if batch_norm else nn.Identity()
        self.conv_2 = nn.Conv2d(features, features, kernel_size=3, padding=1, bias=bias)
        self.norm_2 = nn.BatchNorm2d(features) if batch_norm else nn.Identity()

    def forward(self, feature_map: Tensor) -> Tensor:
        """B x M x height x width -> the same shape."""
        refined = self.norm_1(self.conv_1(F.relu(feature_map)))
        return feature_map + self.norm_2(self.conv_2(F.relu(refined)))


class FusionBlock(nn.Module):
    """Adds one map of the pyramid to what came from below, refines, and enlarges to the next finer map's size."""

    def __init__(self, features: int, *, is_coarsest: bool, bias: bool = True, batch_norm: bool = False):
        super().__init__()
        # Nothing comes from below the coarsest map, so there is nothing to refine it for: releases carry weights for
        # this unit too, but never run it.
        self.refine_skip = None if is_coarsest else ResidualUnit(features, bias=bias, batch_norm=batch_norm)
        self.refine = ResidualUnit(features, bias=bias, batch_norm=batch_norm)
        self.project = nn.Conv2d(features, features, kernel_size=1)

    def forward(self, coarser: Tensor | None, feature_map: Tensor, output_hw: tuple[int, int], factor: float = 1.0) -> Tensor:
        """coarser (or None) and feature_map, both B x M x height x width -> B x M x output_hw. factor: see `Fusion.forward`."""
        added = feature_map if coarser is None else self.refine_skip(feature_map)
        if factor != 1:
            added = factor * added
        fused = added if coarser is None else coarser + added
        # The releases enlarge first and project then. A 1x1 convolution and a bilinear enlargement (whose weights sum
        # to one at every pixel) may change places; this way round the convolution costs a quarter.
        fused = self.project(self.refine(fused))
        return F.interpolate(fused, size=output_hw, mode="bilinear", align_corners=True)


class Fusion(nn.Module):
    """The chain of fusion blocks. `blocks[0]` belongs to the finest map, as in the releases' refinenet1.

    bias, batch_norm: of the convolutions in the residual units. always_double: what happens on odd grids. A 37 x 37 map,
    halved to 19 x 19, does not double back to 37. The releases enlarge each result to the size of the next finer map (False);
    the DPT models of `transformers` always double, and fit the finer map to the result instead (True).
    """

    def __init__(
        self,
        *,
        features: int,
        num_stages: int = 4,
        bias: bool = True,
        batch_norm: bool = False,
        always_double: bool = False,
    ):
        super().__init__()
        self.always_double = always_double
        self.blocks = nn.ModuleList(
            FusionBlock(features, is_coarsest=(stage == num_stages - 1), bias=bias, batch_norm=batch_norm)
            for stage in range(num_stages)
        )

    def forward(self, maps: Sequence[Tensor], factors: Sequence[float] | None = None) -> Tensor:
        """Maps of B x M x (their size), finest first -> one map of B x M x (twice the finest size).

        factors: for experiments, how many times to count what each map adds to the sum, finest first; 0 leaves a map out.
        """
        return self.all_maps(maps, factors)[-1]

    def all_maps(self, maps: Sequence[Tensor], factors: Sequence[float] | None = None) -> list[Tensor]:
        """What each block gives, the coarsest first; the last is the result of `forward`."""
        fused, results = None, []
        for stage in reversed(range(len(self.blocks))):
            feature_map = maps[stage]
            if self.always_double and fused is not None and feature_map.shape != fused.shape:
                feature_map = F.interpolate(feature_map, size=fused.shape[-2:], mode="bilinear")
            height, width = feature_map.shape[-2:]
            follows_map = stage > 0 and not self.always_double
            output_hw = maps[stage - 1].shape[-2:] if follows_map else (2 * height, 2 * width)
            factor = 1.0 if factors is None else factors[stage]
            fused = self.blocks[stage](fused, feature_map, output_hw, factor)
            results.append(fused)
        return results
