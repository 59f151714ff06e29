"""The hybrid: a convolutional network (ResNetV2-50, three of its stages) whose output pixels are a ViT's tokens.

Shapes: B batch, H W picture, h w patch grid (H / 16, W / 16), N = h * w, C features of a token, K channels.

Papers: "An image is worth 16x16 words", section 3.1 ("hybrid architecture"); "Big transfer (BiT)" for the convolutional
part; DPT paper, section 3, for what is tapped: the first two stages of the convolutional part as they are, and two of
the transformer's blocks. The release is MiDaS 3.0's.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import check_picture
from .vit import ViTEncoder

PATCH_SIZE = 16  # pixels for each token: the stem halves the picture twice, its stages twice more
STANDARDISE_EPS = 1e-8
NORM_GROUPS = 32


def pad_same(picture: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad B x K x H x W so that a convolution gives ceil(H / stride) rows: the odd pixel goes to the bottom and the right.

    This is TensorFlow's "SAME" rule, with which these weights were trained; PyTorch pads both ends alike.
    """
    pads = []
    for side in (picture.shape[-1], picture.shape[-2]):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(picture, pads) if any(pads) else picture


class StandardisedConv(nn.Conv2d):
    """A convolution whose filters are brought to mean 0 and variance 1 first ("Weight standardization", section 3)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1):
        super().__init__(channels_in, channels_out, kernel, stride=stride, bias=False)

    def forward(self, picture: Tensor) -> Tensor:
        """B x K x H x W -> B x K' x ceil(H / stride) x ceil(W / stride)."""
        # Batch normalisation with every filter as a channel: mean and variance over all of a filter's weights. The release
        # writes it so, and its rounding is worth keeping, because thirty layers of it would amplify any other.
        filters = self.weight.reshape(1, self.out_channels, -1)  # K' K 3 3 -> 1 K' 9K
        weight = F.batch_norm(filters, None, None, training=True, momentum=0.0, eps=STANDARDISE_EPS)
        picture = pad_same(picture, self.kernel_size[0], self.stride[0])
        return F.conv2d(picture, weight.reshape_as(self.weight), stride=self.stride)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut. The first block of a stage also projects the shortcut."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int, projects_shortcut: bool):
        super().__init__()
        middle = channels_out // 4
        self.conv_1 = StandardisedConv(channels_in, middle, 1)
        self.norm_1 = nn.GroupNorm(NORM_GROUPS, middle)
        self.conv_2 = StandardisedConv(middle, middle, 3, stride=stride)
        self.norm_2 = nn.GroupNorm(NORM_GROUPS, middle)
        self.conv_3 = StandardisedConv(middle, channels_out, 1)
        self.norm_3 = nn.GroupNorm(NORM_GROUPS, channels_out)
        self.shortcut = None
        if projects_shortcut:
            conv = StandardisedConv(channels_in, channels_out, 1, stride=stride)
            self.shortcut = nn.Sequential(conv, nn.GroupNorm(NORM_GROUPS, channels_out))

    def forward(self, picture: Tensor) -> Tensor:
        """B x K x H x W -> B x K' x H / stride x W / stride."""
        shortcut = picture if self.shortcut is None else self.shortcut(picture)
        picture = F.relu(self.norm_1(self.conv_1(picture)))
        picture = F.relu(self.norm_2(self.conv_2(picture)))
        return F.relu(shortcut + self.norm_3(self.conv_3(picture)))


class HybridStem(nn.Module):
    """The convolutional network's first layers: 1/4 of the picture's size."""

    def __init__(self, *, channels: int):
        super().__init__()
        self.patch_size = PATCH_SIZE
        self.conv = StandardisedConv(3, channels, 7, stride=2)
        self.norm = nn.GroupNorm(NORM_GROUPS, channels)

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """B x 3 x H x W picture -> B x K x H/4 x W/4 features, and the patch grid (H / 16, W / 16).

        Raises ValueError for tensors of another shape, and when H or W is not a multiple of the patch size.
        """
        check_picture(image_rgb, self.patch_size)
        height, width = image_rgb.shape[-2:]
        picture = F.relu(self.norm(self.conv(image_rgb)))  # B 3 H W -> B K H/2 W/2
        picture = F.max_pool2d(pad_same(picture, 3, 2), 3, stride=2)  # -> B K H/4 W/4; no padding wins: ReLU left no negatives
        return picture, (height // self.patch_size, width // self.patch_size)


class HybridEncoder(nn.Module):
    """Three convolution stages, a projection to tokens, and a ViT. Taps: stages 1 and 2, then two blocks of the ViT.

    stem_channels: K of the stem; depths: bottlenecks of each convolution stage, and stage_channels: K behind it (a
    quarter of it must be a multiple of NORM_GROUPS); vit: the arguments of ViTEncoder.
    """

    def __init__(
        self, *, stem_channels: int, depths: Sequence[int], vit: dict, stage_channels: Sequence[int] = (256, 512, 1024)
    ):
        super().__init__()
        self.stages = nn.ModuleList()
        channels = stem_channels
        for stage, (depth, channels_out) in enumerate(zip(depths, stage_channels, strict=True)):
            blocks = []
            for number in range(depth):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(Bottleneck(channels, channels_out, stride=stride, projects_shortcut=number == 0))
                channels = channels_out
            self.stages.append(nn.Sequential(*blocks))
        self.projection = nn.Conv2d(channels, vit["features"], kernel_size=1)
        self.vit = ViTEncoder(**vit)
        self.num_stages = 2 + self.vit.num_stages

    def forward(self, picture: Tensor, grid_hw: tuple[int, int]) -> list[Tensor]:
        """B x K x H/4 x W/4 -> two maps (B x K x H/4 x W/4, B x K' x H/8 x W/8) and two times B x (1 + N) x C tokens."""
        maps = []
        for stage in self.stages:
            picture = stage(picture)
            maps.append(picture)
        tokens = self.projection(picture).flatten(2).transpose(1, 2)  # B K h w -> B N C
        return maps[:2] + self.vit(tokens, grid_hw)
