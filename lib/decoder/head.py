"""The depth head: from the fused features to one number per pixel (DPT paper, appendix A).

Shapes: B batch, M width of the fusion, H W picture.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


class DepthHead(nn.Module):
    """A convolution, an enlargement to the picture's size, and two more convolutions down to one channel.

    channels: widths after the first and the second convolution.
    activation: "relu" (relative models: inverse depth, never negative) or "sigmoid" (metric models: a share of the
    range). The result is multiplied by `scale`: 1 for relative models, the range in metres for metric ones.
    """

    def __init__(self, *, features: int, channels: Sequence[int], activation: str = "relu", scale: float = 1.0):
        super().__init__()
        self.activation = activation
        self.scale = scale
        self.conv_1 = nn.Conv2d(features, channels[0], kernel_size=3, padding=1)
        self.conv_2 = nn.Conv2d(channels[0], channels[1], kernel_size=3, padding=1)
        self.conv_3 = nn.Conv2d(channels[1], 1, kernel_size=1)

    def forward(self, fused: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """B x M x (fused size) features -> B x H x W depth, where image_hw = (H, W) is the network input's size."""
        features = self.conv_1(fused)
        features = F.interpolate(features, size=image_hw, mode="bilinear", align_corners=True)  # -> B . H W
        depth = self.conv_3(F.relu(self.conv_2(features)))  # B . H W -> B 1 H W
        return ACTIVATIONS[self.activation](depth).squeeze(1) * self.scale  # B 1 H W -> B H W
