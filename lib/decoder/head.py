"""The depth head: from the fused features to one number per pixel (DPT paper, appendix A).

Shapes: B batch, M width of the fusion, H W picture.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


class TransposedStem(nn.Module):
    """LeViT's way back from 1/8 of the picture's size to 1/2: two transposed convolutions, each with norm and hard swish."""

    def __init__(self, features: int, channels: Sequence[int]):
        super().__init__()
        pairs = list(zip([features, *channels[:-1]], channels, strict=True))
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(*pair, kernel_size=3, stride=2, padding=1, output_padding=1, bias=False) for pair in pairs
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in channels)

    def forward(self, feature_map: Tensor) -> Tensor:
        """B x M x height x width -> B x M' x 4 height x 4 width."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            feature_map = F.hardswish(norm(conv(feature_map)))  # doubles height and width
        return feature_map


class DepthHead(nn.Module):
    """A convolution, an enlargement to the picture's size, and two more convolutions down to one channel.

    channels: widths after the first and the second convolution.
    activation: "relu" (relative models: inverse depth, never negative) or "sigmoid" (metric models: a share of the
    range). The result is multiplied by `scale`: 1 for relative models, the range in metres for metric ones.
    stem_channels: of the TransposedStem in front, which LeViT alone has. projects: one more convolution in front, which some
    DINOv2 heads have. always_double: enlarge to twice the fused size instead of the picture's size; with patches of 14 pixels
    the map is then 16/14 as large as the network input, as the DPT models of `transformers` give it.
    """

    def __init__(
        self,
        *,
        features: int,
        channels: Sequence[int],
        activation: str = "relu",
        scale: float = 1.0,
        stem_channels: Sequence[int] = (),
        projects: bool = False,
        always_double: bool = False,
    ):
        super().__init__()
        if activation not in ACTIVATIONS or not scale > 0:
            raise ValueError(f"no depth comes from the activation {activation!r} times {scale!r}")
        self.activation = activation
        self.scale = scale
        self.always_double = always_double
        self.stem = TransposedStem(features, stem_channels) if stem_channels else None
        features = stem_channels[-1] if stem_channels else features
        self.project = nn.Conv2d(features, features, kernel_size=3, padding=1) if projects else None
        self.conv_1 = nn.Conv2d(features, channels[0], kernel_size=3, padding=1)
        self.conv_2 = nn.Conv2d(channels[0], channels[1], kernel_size=3, padding=1)
        self.conv_3 = nn.Conv2d(channels[1], 1, kernel_size=1)

    def forward(self, fused: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """B x M x (fused size) features -> B x H x W depth, where image_hw = (H, W) is the network input's size."""
        return self.depth(self.features(fused, image_hw))

    def features(self, fused: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """The first of the two steps of `forward`: the features that depth is made of, B x channels[1] x H x W."""
        if self.stem is not None:
            fused = self.stem(fused)
        if self.project is not None:
            fused = F.relu(self.project(fused))
        features = self.conv_1(fused)
        output_hw = [2 * side for side in fused.shape[-2:]] if self.always_double else image_hw
        features = F.interpolate(features, size=output_hw, mode="bilinear", align_corners=True)  # -> B . H W
        return F.relu(self.conv_2(features))

    def depth(self, features: Tensor) -> Tensor:
        """The second: B x channels[1] x H x W -> B x H x W depth."""
        depth = self.conv_3(features)  # B . H W -> B 1 H W
        return ACTIVATIONS[self.activation](depth).squeeze(1) * self.scale  # B 1 H W -> B H W
