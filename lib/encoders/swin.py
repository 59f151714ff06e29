"""SwinV2 and Swin: attention inside windows, windows shifted in every second block, a pyramid of four stages.

Shapes: B batch, h w the stage's token grid, C features, A attention heads, G windows in the picture, T tokens in a window,
D = C / A features of a head.

Papers: "Swin transformer: hierarchical vision transformer using shifted windows", "Swin transformer V2: scaling up capacity
and resolution"; the releases are MiDaS 3.1's.

Positions: a bias for each offset between two tokens of a window; relative.py works the index trick through on 2 x 3 tokens.
Swin learns the table of these biases, SwinV2 computes it (`log_offsets`).

Sizes other than the training's. The number of windows along each side stays what it was in training, and the window's size
follows from the grid: 256 x 256 pixels with 16 x 16 tokens in a window become 320 x 384 with 20 x 24. Positions inside a
window are stretched with it, as ViT and BEiT stretch their tables. At the training size these are the release's numbers;
elsewhere the release itself cannot run, and the result changes smoothly with the size. Both sides must be multiples of 32.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import FeedForward, Linear, attend, check_heads, check_norm_eps
from .relative import BiasCache, look_up, offset_index, remember_by_size, resize_offset_table

LARGEST_LOGIT_SCALE = math.log(100)  # SwinV2's bound on the learned temperature of its cosine attention
MASKED = -100.0  # what the releases add to forbidden pairs: after the softmax, nothing remains

window_index = remember_by_size(4)(offset_index)  # the stages of a model have few different windows


def split_windows(grid: Tensor, windows_hw: tuple[int, int]) -> Tensor:
    """Cut a picture of tokens into windows: B x h x w x C -> B x G x T x C. `join_windows` undoes it."""
    rows, columns = windows_hw
    windows = grid.unflatten(2, (columns, -1)).unflatten(1, (rows, -1))  # B h w C -> B rows h/rows columns w/columns C
    return windows.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # -> B G T C


def join_windows(windows: Tensor, windows_hw: tuple[int, int], grid_hw: tuple[int, int]) -> Tensor:
    """Put windows back in their places: B x G x T x C -> B x h x w x C."""
    rows, columns = windows_hw
    window_hw = (grid_hw[0] // rows, grid_hw[1] // columns)
    windows = windows.unflatten(2, window_hw).unflatten(1, windows_hw)  # B G T C -> B rows columns h/rows w/columns C
    return windows.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # -> B h w C


def shift_mask(
    grid_hw: tuple[int, int], windows_hw: tuple[int, int], shift_hw: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """Which pairs of tokens in each shifted window must not see each other: G x T x T, True or False.

    Shifting rolls the picture around, so the last window of a row holds tokens from both ends of the picture. Each side is
    cut into three bands: tokens that no border touches, those before it, and those that came around. Only tokens of the
    same band in both directions may attend to each other.
    """
    bands = []
    for side, num_windows, shift in zip(grid_hw, windows_hw, shift_hw, strict=True):
        window = side // num_windows
        band = torch.zeros(side, dtype=torch.int64, device=device)
        if shift:
            band[side - window :] = 1
            band[side - shift :] = 2
        bands.append(band)
    region = 3 * bands[0][:, None] + bands[1][None, :]  # h w
    regions = split_windows(region[None, :, :, None], windows_hw)[0, :, :, 0]  # h w -> G T
    return regions[:, :, None] != regions[:, None, :]  # G T -> G T T


def log_offsets(
    window_hw: tuple[int, int], *, window: int, coordinate_window: int, device: torch.device | None = None
) -> Tensor:
    """Every offset in a window on a logarithmic scale, R x 2: rows first, in the order of the table (V2 paper, equation 4).

    On this scale larger windows than those of the training need little extrapolation. x = offset / (coordinate_window - 1) * 8,
    then sign(x) * log2(1 + |x|) / log2(8). coordinate_window is the window of the *pre-training*, which no weight shape
    reveals; window is the one of the last training. At another size than that, offsets are stretched first, so that
    the outermost stay the outermost.

    A window of 2 x 3 tokens where all training had 3 x 3: the columns' -2 to 2 become x = -8, -4, 0, 4, 8, and log2(9) / 3 is
    1.06. The rows' -1 to 1 are stretched to -2, 0, 2, which gives -8, 0, 8:

    >>> log_offsets((2, 3), window=3, coordinate_window=3)[:5]  # of the 15; the next five have 0 in front, then 1.06
    tensor([[-1.0566, -1.0566],
            [-1.0566, -0.7740],
            [-1.0566,  0.0000],
            [-1.0566,  0.7740],
            [-1.0566,  1.0566]])
    """
    sides = []
    for side in window_hw:
        offsets = torch.arange(1 - side, side, dtype=torch.float32, device=device)
        stretch = (window - 1) / max(side - 1, 1)  # 1 at the training size
        sides.append(offsets * stretch / max(coordinate_window - 1, 1) * 8)
    pairs = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=-1).flatten(0, 1)  # R 2
    return pairs.sign() * torch.log2(1 + pairs.abs()) / math.log2(8)


class ContinuousPositionBias(nn.Module):
    """SwinV2: a small network gives the bias for any offset (V2 paper, section 3.3, equation 3).

    window, coordinate_window: see `log_offsets`.
    """

    def __init__(self, *, heads: int, window: int, coordinate_window: int):
        super().__init__()
        self.window = window
        self.coordinate_window = coordinate_window
        self.expand = nn.Linear(2, 512)
        self.contract = nn.Linear(512, heads, bias=False)

    def forward(self, window_hw: tuple[int, int]) -> Tensor:
        """The bias for each offset in a window and each head: R x A, between 0 and 16."""
        weight = self.expand.weight
        offsets = log_offsets(
            window_hw, window=self.window, coordinate_window=self.coordinate_window, device=weight.device
        )
        table = self.contract(F.relu(self.expand(offsets.to(weight.dtype))))  # R 2 -> R A
        return 16 * torch.sigmoid(table)

    def weights(self) -> list[Tensor]:
        """What the table depends on."""
        return [self.expand.weight, self.expand.bias, self.contract.weight]


class TablePositionBias(nn.Module):
    """Swin: one learned number per head and offset (first paper, equation 4)."""

    def __init__(self, *, heads: int, window: int):
        super().__init__()
        self.window_hw = (window, window)
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))

    def forward(self, window_hw: tuple[int, int]) -> Tensor:
        """The bias for each offset in a window and each head: R x A."""
        return resize_offset_table(self.table, self.window_hw, window_hw)

    def weights(self) -> list[Tensor]:
        """What the table depends on."""
        return [self.table]


class WindowAttention(nn.Module):
    """Attention among the tokens of each window. SwinV2 compares directions only (cosine), Swin takes dot products.

    V2 paper, section 3.2, equation 2: softmax(cos(q, k) * scale + bias), with a learned scale for each head.
    """

    def __init__(self, *, features: int, heads: int, window: int, coordinate_window: int | None):
        super().__init__()
        check_heads(features, heads)
        self.heads = heads
        self.fused = True
        self.is_cosine = coordinate_window is not None
        self.qkv = Linear(features, 3 * features)
        self.project = Linear(features, features)
        self.cache = BiasCache()
        if self.is_cosine:
            self.logit_scale = nn.Parameter(torch.zeros(heads, 1, 1))
            self.bias = ContinuousPositionBias(heads=heads, window=window, coordinate_window=coordinate_window)
        else:
            self.bias = TablePositionBias(heads=heads, window=window)

    def full_bias(self, grid_hw: tuple[int, int], windows_hw: tuple[int, int], shift_hw: tuple[int, int]) -> Tensor:
        """Position bias plus, for shifted windows, the mask: 1 x A x T x T or G x A x T x T."""
        window_hw = (grid_hw[0] // windows_hw[0], grid_hw[1] // windows_hw[1])

        def spread(table: Tensor) -> Tensor:
            bias = look_up(table, window_index(window_hw, table.device))[None]  # R A -> 1 A T T
            if shift_hw == (0, 0):
                return bias
            is_masked = shift_mask(grid_hw, windows_hw, shift_hw, bias.device)[:, None]  # G 1 T T
            return torch.where(is_masked, bias + MASKED, bias)  # 1 A T T -> G A T T

        key = (grid_hw, windows_hw, shift_hw)
        return self.cache(lambda: self.bias(window_hw), spread, weights=self.bias.weights(), key=key)

    def forward(self, windows: Tensor, bias: Tensor) -> Tensor:
        """B x G x T x C -> the same shape. bias: as `full_bias` gives it."""
        batch, num_windows = windows.shape[:2]
        qkv = self.qkv(windows).unflatten(-1, (3, self.heads, -1))  # B G T 3C -> B G T 3 A D
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)  # -> three times B G*A T D
        if bias.shape[0] == 1:  # all windows alike: count them as pictures, and one bias serves all
            query, key, value = (x.unflatten(1, (-1, self.heads)).flatten(0, 1) for x in (query, key, value))  # B*G A T D
        scale = None
        if self.is_cosine:
            scale = 1.0
            temperature = self.logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()  # A 1 1
            query = F.normalize(query, dim=-1) * temperature.repeat(query.shape[1] // self.heads, 1, 1)
            key = F.normalize(key, dim=-1)
        mixed = attend(query, key, value, bias=bias.flatten(0, 1)[None], scale=scale, fused=self.fused)
        mixed = mixed.reshape(batch, num_windows, self.heads, *mixed.shape[-2:])  # -> B G A T D
        return self.project(mixed.transpose(2, 3).flatten(3))  # B G A T D -> B G T C


class SwinBlock(nn.Module):
    """Window attention and a feed-forward network. Swin normalises before each of them, SwinV2 afterwards (section 3.2)."""

    def __init__(
        self,
        *,
        features: int,
        heads: int,
        hidden: int,
        window: int,
        coordinate_window: int | None,
        is_shifted: bool,
        norm_eps: float,
    ):
        super().__init__()
        check_norm_eps(norm_eps)
        self.is_shifted = is_shifted
        self.norms_after = coordinate_window is not None
        self.norm_1 = nn.LayerNorm(features, eps=norm_eps)
        self.attention = WindowAttention(
            features=features, heads=heads, window=window, coordinate_window=coordinate_window
        )
        self.norm_2 = nn.LayerNorm(features, eps=norm_eps)
        self.feed_forward = FeedForward(features=features, hidden=hidden)

    def shift(self, grid_hw: tuple[int, int], windows_hw: tuple[int, int]) -> tuple[int, int]:
        """By how many rows and columns windows are shifted: half a window, but not along a side that is one window."""
        if not self.is_shifted:
            return (0, 0)
        return tuple(side // count // 2 if count > 1 else 0 for side, count in zip(grid_hw, windows_hw, strict=True))

    def attend_in_windows(self, grid: Tensor, windows_hw: tuple[int, int]) -> Tensor:
        """Roll, cut into windows, attend, put back, roll back: B x h x w x C -> the same shape."""
        grid_hw = (grid.shape[1], grid.shape[2])
        shift_hw = self.shift(grid_hw, windows_hw)
        if self.is_shifted:
            grid = grid.roll((-shift_hw[0], -shift_hw[1]), dims=(1, 2))
        bias = self.attention.full_bias(grid_hw, windows_hw, shift_hw)
        windows = self.attention(split_windows(grid, windows_hw), bias)  # B h w C -> B G T C
        grid = join_windows(windows, windows_hw, grid_hw)  # B G T C -> B h w C
        return grid.roll(shift_hw, dims=(1, 2)) if self.is_shifted else grid

    def forward(self, grid: Tensor, windows_hw: tuple[int, int]) -> Tensor:
        """B x h x w x C -> the same shape."""
        if self.norms_after:
            grid = grid + self.norm_1(self.attend_in_windows(grid, windows_hw))
            return grid + self.norm_2(self.feed_forward(grid))
        grid = grid + self.attend_in_windows(self.norm_1(grid), windows_hw)
        return grid + self.feed_forward(self.norm_2(grid))


class PatchMerging(nn.Module):
    """Halves the grid: four neighbouring tokens become one of twice their features."""

    def __init__(self, features: int, *, norms_after: bool):
        super().__init__()
        self.norms_after = norms_after
        self.reduction = Linear(4 * features, 2 * features, bias=False)
        self.norm = nn.LayerNorm(2 * features if norms_after else 4 * features)

    def forward(self, grid: Tensor) -> Tensor:
        """B x h x w x C -> B x h/2 x w/2 x 2C."""
        even, odd = grid[:, :, 0::2], grid[:, :, 1::2]  # columns
        four = torch.cat([even[:, 0::2], even[:, 1::2], odd[:, 0::2], odd[:, 1::2]], dim=-1)  # B h w C -> B h/2 w/2 4C
        return self.norm(self.reduction(four)) if self.norms_after else self.reduction(self.norm(four))


class SwinEncoder(nn.Module):
    """Four stages of blocks with a merging between them; the grid halves and the features double from stage to stage.

    depths, heads: blocks and attention heads of each stage. windows_per_side: windows along each side of the picture, per
    stage; windows: their size in training. coordinate_windows: those of the pre-training, see `log_offsets`; None makes it a
    Swin (V1). norm_eps: of the blocks.
    """

    def __init__(
        self,
        *,
        features: int,
        depths: Sequence[int],
        heads: Sequence[int],
        windows: Sequence[int],
        windows_per_side: Sequence[int],
        coordinate_windows: Sequence[int] | None,
        hidden_ratio: int = 4,
        norm_eps: float = 1e-5,
    ):
        super().__init__()
        per_stage = [depths, heads, windows, windows_per_side, coordinate_windows or windows]
        if {len(numbers) for numbers in per_stage} != {len(depths)} or min(map(min, per_stage)) < 1:
            raise ValueError(f"expected a positive number for each stage in each of {per_stage}")
        self.windows_per_side = tuple(windows_per_side)
        # Every stage's grid must divide into its windows, and into halves for the next stage.
        self.grid_multiple = math.lcm(2 ** (len(depths) - 1), *(n * 2**stage for stage, n in enumerate(windows_per_side)))
        self.num_stages = len(depths)
        self.stages = nn.ModuleList()
        self.merges = nn.ModuleList()
        for stage, depth in enumerate(depths):
            width = features * 2**stage
            blocks = [
                SwinBlock(
                    features=width,
                    heads=heads[stage],
                    hidden=hidden_ratio * width,
                    window=windows[stage],
                    coordinate_window=coordinate_windows[stage] if coordinate_windows else None,
                    is_shifted=number % 2 == 1,
                    norm_eps=norm_eps,
                )
                for number in range(depth)
            ]
            self.stages.append(nn.ModuleList(blocks))
            if stage < len(depths) - 1:
                self.merges.append(PatchMerging(width, norms_after=coordinate_windows is not None))

    def forward(self, tokens: Tensor, grid_hw: tuple[int, int]) -> list[Tensor]:
        """B x N x C tokens -> four stages as pictures of features: B x C x h x w, B x 2C x h/2 x w/2, and so on.

        Raises ValueError when a side of the grid does not divide into the windows of every stage.
        """
        if any(side % self.grid_multiple for side in grid_hw):
            raise ValueError(
                f"the token grid is {grid_hw[0]} x {grid_hw[1]}, but both sides must be multiples of {self.grid_multiple}"
            )
        grid = tokens.unflatten(1, grid_hw)  # B N C -> B h w C
        stages = []
        for number, blocks in enumerate(self.stages):
            count = self.windows_per_side[number]
            for block in blocks:
                grid = block(grid, (count, count))
            stages.append(grid.permute(0, 3, 1, 2))  # B h w C -> B C h w
            if number < len(self.merges):
                grid = self.merges[number](grid)  # B h w C -> B h/2 w/2 2C
        return stages
