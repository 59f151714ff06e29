"""LeViT: attention between convolutions' habits: batch norms, a shrinking grid, a bias for each distance.

Shapes: B batch, h w the stage's token grid, N = h * w tokens, Q tokens of the queries, C features, A attention heads,
D features of a query or key (32), V of a value.

Paper: "LeViT: a vision transformer in ConvNet's clothing for faster inference"; the release is MiDaS 3.1's. The tables of
distances belong to one picture size (224 x 224 in the release), so no other size is possible.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Linear, attend, check_picture, check_taps

KEY_FEATURES = 32
PATCH_SIZE = 16  # pixels for each token: the stem halves the picture four times


class ConvNorm(nn.Module):
    """A 3x3 convolution that halves the picture, and a batch norm."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, picture: Tensor) -> Tensor:
        """B x K x H x W -> B x K' x H/2 x W/2."""
        return self.norm(self.conv(picture))


class LinearNorm(nn.Module):
    """A linear layer and a batch norm over all tokens of all pictures."""

    def __init__(self, features_in: int, features_out: int):
        super().__init__()
        self.linear = Linear(features_in, features_out, bias=False)
        self.norm = nn.BatchNorm1d(features_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x N x C -> B x N x C'."""
        tokens = self.linear(tokens)
        return self.norm(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])  # B N C' -> B*N C' -> B N C'


class LevitStem(nn.Module):
    """Four convolutions from the picture to tokens of 16 x 16 pixels."""

    def __init__(self, *, channels: Sequence[int], image_size: int):
        super().__init__()
        if not isinstance(image_size, int) or image_size < 1 or image_size % PATCH_SIZE:
            raise ValueError(f"image_size is {image_size!r}, expected a multiple of {PATCH_SIZE}")
        self.image_size = image_size
        self.layers = nn.ModuleList(ConvNorm(*pair) for pair in zip([3, *channels], channels))  # noqa: B905

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """B x 3 x H x W -> B x N x C tokens and their grid (H / 16, W / 16). ValueError unless H = W = image_size."""
        check_picture(image_rgb, 1)
        if image_rgb.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"the picture tensor is {image_rgb.shape[-2]} x {image_rgb.shape[-1]}, "
                f"but LeViT can only do {self.image_size} x {self.image_size}: its position tables fit no other size"
            )
        picture = self.layers[0](image_rgb)
        for layer in self.layers[1:]:
            picture = layer(F.hardswish(picture))  # halves H and W
        return picture.flatten(2).transpose(1, 2), (picture.shape[-2], picture.shape[-1])  # B C h w -> B N C


def distance_index(side: int, stride: int) -> Tensor:
    """For each pair (query, key) of a square grid, the number of their distance |dy|, |dx|: Q x N.

    Only every stride-th row and column asks. On a 2 x 2 grid with stride 1 the distances are numbered 2 |dy| + |dx|:

    >>> distance_index(2, 1)
    tensor([[0, 1, 2, 3],
            [1, 0, 3, 2],
            [2, 3, 0, 1],
            [3, 2, 1, 0]])
    """
    keys = torch.cartesian_prod(*[torch.arange(side)] * 2)  # N 2
    queries = torch.cartesian_prod(*[torch.arange(0, side, stride)] * 2)  # Q 2
    distances = (queries[:, None] - keys[None, :]).abs()  # Q N 2
    return distances[..., 0] * side + distances[..., 1]


class LevitAttention(nn.Module):
    """Attention with one bias per head and distance. stride 2 lets every second row and column ask: the grid halves.

    value_ratio: how many times wider a value is than a key.
    """

    def __init__(self, features: int, features_out: int, *, heads: int, value_ratio: int, side: int, stride: int):
        super().__init__()
        self.heads, self.side, self.stride = heads, side, stride
        self.value_features = value_ratio * KEY_FEATURES
        self.fused = True
        self.distance_bias = nn.Parameter(torch.zeros(heads, side**2))
        # Kept with the weights, as in the release: it fits no other picture size anyway.
        self.register_buffer("distance_index", distance_index(side, stride))
        query_width, rest = heads * KEY_FEATURES, heads * (KEY_FEATURES + self.value_features)
        if stride == 1:
            self.qkv = LinearNorm(features, query_width + rest)
        else:
            self.query = LinearNorm(features, query_width)
            self.key_value = LinearNorm(features, rest)
        self.project = LinearNorm(heads * self.value_features, features_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x N x C -> B x Q x C'. Q = N at stride 1, a quarter of it (rounded up on odd grids) at stride 2."""
        if self.stride == 1:
            split = self.qkv(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B N . -> B A N .
            query, key, value = split.split([KEY_FEATURES, KEY_FEATURES, self.value_features], dim=-1)
        else:
            split = self.key_value(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B N . -> B A N .
            key, value = split.split([KEY_FEATURES, self.value_features], dim=-1)
            asking = tokens.unflatten(1, (self.side, self.side))[:, :: self.stride, :: self.stride].flatten(1, 2)  # B Q C
            query = self.query(asking).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B Q . -> B A Q D
        bias = self.distance_bias[:, self.distance_index]  # A side^2 -> A Q N
        mixed = attend(query, key, value, bias=bias[None], fused=self.fused)  # B A Q V
        return self.project(F.hardswish(mixed.transpose(1, 2).flatten(2)))  # B A Q V -> B Q C'


class LevitFeedForward(nn.Module):
    """Two linear layers with batch norms and a hard swish between them."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.expand = LinearNorm(features, hidden)
        self.contract = LinearNorm(hidden, features)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x N x C -> B x N x C."""
        return self.contract(F.hardswish(self.expand(tokens)))


class LevitEncoder(nn.Module):
    """Three stages of attention and feed-forward layers, with shrinking attention between them.

    widths, heads: of each stage. depth: pairs of layers in each. The layers stand in one row as in the release, whose taps
    count them: the shrinking attention and the feed-forward layer after it are two more.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        heads: Sequence[int],
        depth: int,
        side: int,
        taps: Sequence[int],
        hidden_ratio: int = 2,
    ):
        super().__init__()
        self.taps = tuple(taps)
        self.num_stages = len(self.taps)
        self.layers = nn.ModuleList()
        self.sides = []  # of the grid behind each layer
        for stage, width in enumerate(widths):
            attentions = []
            if stage > 0:
                narrow = widths[stage - 1]
                attentions.append(
                    LevitAttention(narrow, width, heads=narrow // KEY_FEATURES, value_ratio=4, side=side, stride=2)
                )
                side = (side + 1) // 2
            attentions += [
                LevitAttention(width, width, heads=heads[stage], value_ratio=2, side=side, stride=1) for _ in range(depth)
            ]
            for attention in attentions:
                self.layers += [attention, LevitFeedForward(width, hidden_ratio * width)]
                self.sides += [side, side]
        check_taps(taps, len(self.layers))

    def forward(self, tokens: Tensor, grid_hw: tuple[int, int]) -> list[Tensor]:
        """B x N x C tokens -> three stages as pictures of features, each a half of the one before (14, 7, 4)."""
        stages = []
        for number, (layer, side) in enumerate(zip(self.layers, self.sides, strict=True)):
            shrinks = getattr(layer, "stride", 1) > 1
            tokens = layer(tokens) if shrinks else tokens + layer(tokens)
            if number in self.taps:
                stages.append(tokens.transpose(1, 2).unflatten(2, (side, side)))  # B N C -> B C h w
            if number == self.taps[-1]:  # the release carries six more layers, which nothing reads
                break
        return stages
