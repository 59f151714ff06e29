"""Reassemble: from rows of tokens back to pictures of features, at four scales (DPT paper, section 3, equation 1).

Reassemble(t) = (Resample o Concatenate o Read)(t): *read* decides what happens to the class token, *concatenate* puts
the remaining tokens back on their patch grid, *resample* projects them to the stage's width and changes their size.

Shapes: B batch, h w patch grid, N = h * w patch tokens, C features of a token, K width of a stage, M width of the fusion.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.layers import Linear
from ..quick_cpu import pixel_by_pixel


class IgnoreClassToken(nn.Module):
    """Read_ignore (equation 3): the class token is dropped."""

    def forward(self, tokens: Tensor) -> Tensor:
        """B x (1 + N) x C -> B x N x C."""
        return tokens[:, 1:]


class AddClassToken(nn.Module):
    """Read_add (equation 4): the class token is added to every patch token."""

    def forward(self, tokens: Tensor) -> Tensor:
        """B x (1 + N) x C -> B x N x C."""
        return tokens[:, 1:] + tokens[:, :1]


class ProjectClassToken(nn.Module):
    """Read_proj (equation 5): the class token is glued to every patch token, and a layer mixes the two."""

    def __init__(self, features: int):
        super().__init__()
        self.mix = Linear(2 * features, features)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x (1 + N) x C -> B x N x C."""
        class_token, patch_tokens = tokens[:, :1], tokens[:, 1:]
        glued = torch.cat([patch_tokens, class_token.expand_as(patch_tokens)], dim=-1)  # B N C -> B N 2C
        return F.gelu(self.mix(glued))  # B N 2C -> B N C


def make_resize(channels: int, scale: float) -> nn.Module:
    """Resample_s (equation 7): enlarge by a transposed convolution, or halve by a strided one."""
    if scale > 1:
        return nn.ConvTranspose2d(channels, channels, kernel_size=int(scale), stride=int(scale))
    if scale < 1:
        return nn.Conv2d(channels, channels, kernel_size=3, stride=round(1 / scale), padding=1)
    return nn.Identity()


class ReassembleStage(nn.Module):
    """One stage: B x (1 + N) x C tokens (or, where the encoder keeps pictures, a B x C x h x w map) -> a feature map."""

    def __init__(self, *, features: int, channels: int, scale: float, readout: str | None, fusion_features: int):
        super().__init__()
        if readout == "ignore":
            self.readout = IgnoreClassToken()
        elif readout == "add":
            self.readout = AddClassToken()
        elif readout == "project":
            self.readout = ProjectClassToken(features)
        elif readout is None:  # the encoder's stage is image-like: no class token, nothing to put back on a grid ...
            self.readout = None
            channels = features  # ... and nothing that would change its width
        else:
            raise ValueError(f"unknown readout {readout!r}: expected ignore, add, project or None")
        self.project = nn.Conv2d(features, channels, kernel_size=1) if self.readout is not None else nn.Identity()
        self.resize = make_resize(channels, scale)
        self.to_fusion = nn.Conv2d(channels, fusion_features, kernel_size=3, padding=1, bias=False)

    def forward(self, stage: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """The stage's feature map, B x M x (scale * h) x (scale * w)."""
        if self.readout is not None:
            tokens = self.readout(stage)  # B 1+N C -> B N C
            stage = tokens.transpose(1, 2).unflatten(2, grid_hw)  # B N C -> B C h w
        feature_map = self.resize(self.project(pixel_by_pixel(stage)))  # B C h w -> B K scale*h scale*w
        return self.to_fusion(feature_map)  # B K . . -> B M . .


class Reassemble(nn.Module):
    """All stages, finest first. With the usual scales 4, 2, 1, 1/2 the maps are a pyramid around the patch grid.

    stage_features: C of each encoder stage; stage_channels: K of each; readouts: for each stage "ignore", "add",
    "project", or None where the encoder's stage is image-like already.
    """

    def __init__(
        self,
        *,
        stage_features: Sequence[int],
        stage_channels: Sequence[int],
        scales: Sequence[float],
        readouts: Sequence[str | None],
        fusion_features: int,
    ):
        super().__init__()
        self.stages = nn.ModuleList(
            ReassembleStage(
                features=features, channels=channels, scale=scale, readout=readout, fusion_features=fusion_features
            )
            for features, channels, scale, readout in zip(
                stage_features, stage_channels, scales, readouts, strict=True
            )
        )

    def forward(self, stages: Sequence[Tensor], grid_hw: tuple[int, int]) -> list[Tensor]:
        """The encoder's stages -> as many maps, finest first, all M wide: B x M x (scale * h) x (scale * w)."""
        return [reassemble(stage, grid_hw) for reassemble, stage in zip(self.stages, stages, strict=True)]
