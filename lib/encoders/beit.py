"""BEiT: a vision transformer without position table; every block learns a bias for each offset between two patches.

Shapes: B batch, h w patch grid, N = h * w patch tokens, C features, A attention heads, R offsets in a table.

Paper: "BEiT: BERT pre-training of image transformers"; the releases are MiDaS 3.1's. How one table serves all pairs of
patches is worked through in relative.py.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import TransformerBlock, WeightCache, check_taps
from .relative import look_up, offset_index, remember_by_size, resize_offset_table

NUM_CLASS_OFFSETS = 3  # class token to patch, patch to class token, class token to itself


@remember_by_size
def offset_index_with_class(grid_hw: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """`offset_index` with a class token in front: (1 + N) x (1 + N). Its three kinds of pairs come last in the table.

    On a 1 x 2 grid there are 3 offsets (0 to 2) between patches, so the three extra entries are 3, 4 and 5:

    >>> offset_index_with_class((1, 2))
    tensor([[5, 3, 3],
            [4, 1, 0],
            [4, 2, 1]])
    """
    rows, columns = grid_hw
    first_extra = (2 * rows - 1) * (2 * columns - 1)
    index = F.pad(offset_index(grid_hw, device), (1, 0, 1, 0))  # N N -> 1+N 1+N
    index[0, :] = first_extra
    index[:, 0] = first_extra + 1
    index[0, 0] = first_extra + 2
    return index


class RelativePositionBias(nn.Module):
    """One block's table of biases, and the full bias that it stands for on a given patch grid.

    The full bias is large: (1 + N)^2 numbers for each head. With `keep_full_bias` it is remembered for the last grid size;
    without, only the resized table is (thousands of times smaller), and the look-up is done anew at each call.
    """

    def __init__(self, *, heads: int, table_side: int):
        super().__init__()
        self.table_hw = (table_side, table_side)
        self.table = nn.Parameter(torch.zeros((2 * table_side - 1) ** 2 + NUM_CLASS_OFFSETS, heads))
        self.keep_full_bias = True
        self.cache = WeightCache(max_entries=1)

    def resized_table(self, grid_hw: tuple[int, int]) -> Tensor:
        """The table for this grid, R x A. As in MiDaS 3.1, patch offsets are resized bilinearly, the others kept."""
        between_patches, with_class = self.table[:-NUM_CLASS_OFFSETS], self.table[-NUM_CLASS_OFFSETS:]
        return torch.cat([resize_offset_table(between_patches, self.table_hw, grid_hw), with_class])

    def forward(self, grid_hw: tuple[int, int]) -> Tensor:
        """The bias for each head and pair of tokens: A x (1 + N) x (1 + N)."""
        index = offset_index_with_class(grid_hw, self.table.device)
        if self.keep_full_bias:
            return self.cache(
                lambda: look_up(self.resized_table(grid_hw), index), weights=[self.table], key=("bias", grid_hw)
            )
        table = self.cache(lambda: self.resized_table(grid_hw), weights=[self.table], key=("table", grid_hw))
        return look_up(table, index)


class BEiTEncoder(nn.Module):
    """Adds the class token, runs the blocks, each with its own position bias, and taps four of them.

    taps: the numbers (from 0) of the blocks whose output becomes a stage. table_side: patches along one side of the
    square pictures of the training.
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
    ):
        super().__init__()
        check_taps(taps, num_blocks)
        self.taps = tuple(taps)
        self.num_stages = len(self.taps)
        self.class_token = nn.Parameter(torch.zeros(1, 1, features))
        self.biases = nn.ModuleList(RelativePositionBias(heads=heads, table_side=table_side) for _ in range(num_blocks))
        self.blocks = nn.ModuleList(
            TransformerBlock(features=features, heads=heads, hidden=hidden, norm_eps=norm_eps, layer_scale=True)
            for _ in range(num_blocks)
        )

    def forward(self, tokens: Tensor, grid_hw: tuple[int, int]) -> list[Tensor]:
        """B x N x C patch tokens -> four stages, each B x (1 + N) x C with the class token first."""
        class_token = self.class_token.expand(tokens.shape[0], -1, -1)
        tokens = torch.cat([class_token, tokens], dim=1)  # B N C -> B 1+N C
        stages = []
        for number, (block, bias) in enumerate(zip(self.blocks, self.biases, strict=True)):
            tokens = block(tokens, bias(grid_hw)[None])  # the bias: A 1+N 1+N -> 1 A 1+N 1+N
            if number in self.taps:
                stages.append(tokens)
        return stages
