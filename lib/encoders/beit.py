"""BEiT: a vision transformer without position table; every block learns a bias for each offset between two patches.

Shapes: B batch, h w patch grid, N = h * w patch tokens, C features, A attention heads, R offsets in a table.

Paper: "BEiT: BERT pre-training of image transformers"; the releases are MiDaS 3.1's. How one table serves all pairs of
patches is worked through at `offset_index_with_class`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import TransformerBlock, check_taps
from .relative import BiasCache, look_up, offset_index, remember_by_size, resize_offset_table

NUM_CLASS_OFFSETS = 3  # class token to patch, patch to class token, class token to itself


@remember_by_size(1)  # as large as one head's bias
def offset_index_with_class(grid_hw: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Which entry of a block's table each pair (query, key) of tokens reads: (1 + N) x (1 + N), the class token first.

    On a 2 x 3 grid the patches are the tokens 1 to 6, row by row:

        1 2 3
        4 5 6

    Two patches are between -1 and 1 rows and -2 and 2 columns apart: 3 x 5 = 15 offsets, so 15 numbers per head serve all 36
    pairs of patches. The offset (query - key) of dy rows and dx columns has the number (dy + 1) * 5 + (dx + 2): it is
    1 * 5 + 2 = 7 from a patch to itself, and 2 * 5 + 4 = 14 from patch 6 to patch 1. The pairs with the class token come
    last in the table: 15 from it to any patch, 16 from any patch to it, 17 from it to itself.

    >>> offset_index_with_class((2, 3))
    tensor([[17, 15, 15, 15, 15, 15, 15],
            [16,  7,  6,  5,  2,  1,  0],
            [16,  8,  7,  6,  3,  2,  1],
            [16,  9,  8,  7,  4,  3,  2],
            [16, 12, 11, 10,  7,  6,  5],
            [16, 13, 12, 11,  8,  7,  6],
            [16, 14, 13, 12,  9,  8,  7]])
    """
    rows, columns = grid_hw
    first_extra = (2 * rows - 1) * (2 * columns - 1)
    index = F.pad(offset_index(grid_hw, device), (1, 0, 1, 0))  # N N -> 1+N 1+N
    index[0, :] = first_extra
    index[:, 0] = first_extra + 1
    index[0, 0] = first_extra + 2
    return index


class RelativePositionBias(nn.Module):
    """One block's table of biases, and the full bias that it stands for on a given patch grid."""

    def __init__(self, *, heads: int, table_side: int):
        super().__init__()
        self.table_hw = (table_side, table_side)
        self.table = nn.Parameter(torch.zeros((2 * table_side - 1) ** 2 + NUM_CLASS_OFFSETS, heads))
        self.cache = BiasCache()

    def resized_table(self, grid_hw: tuple[int, int]) -> Tensor:
        """The table for this grid, R x A. As in MiDaS 3.1, patch offsets are resized bilinearly, the others kept."""
        between_patches, with_class = self.table[:-NUM_CLASS_OFFSETS], self.table[-NUM_CLASS_OFFSETS:]
        return torch.cat([resize_offset_table(between_patches, self.table_hw, grid_hw), with_class])

    def forward(self, grid_hw: tuple[int, int]) -> Tensor:
        """The bias for each head and pair of tokens: A x (1 + N) x (1 + N)."""
        return self.cache(
            lambda: self.resized_table(grid_hw),
            lambda table: look_up(table, offset_index_with_class(grid_hw, table.device)),
            weights=[self.table],
            key=grid_hw,
        )


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
