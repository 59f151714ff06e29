"""ZoeDepth's router: which domain (indoors, outdoors) a picture belongs to (ZoeDepth paper, section 3.3, "Auto Router").

Shapes: B batch, M width of the fusion, E features of a token, D domains, h w the decoder's coarsest map, N = h * w patch
tokens, T = 1 + N tokens in all.

Paper: "ZoeDepth: zero-shot transfer by combining relative and metric depth".
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.layers import Attention, Linear


class RouterBlock(nn.Module):
    """A transformer block that normalises after each part, and whose feed-forward network has a ReLU."""

    def __init__(self, *, features: int, heads: int, hidden: int):
        super().__init__()
        self.attention = Attention(features=features, heads=heads)
        self.norm_1 = nn.LayerNorm(features)
        self.expand = Linear(features, hidden)
        self.contract = Linear(hidden, features)
        self.norm_2 = nn.LayerNorm(features)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x T x E -> B x T x E."""
        tokens = self.norm_1(tokens + self.attention(tokens))
        return self.norm_2(tokens + self.contract(F.relu(self.expand(tokens))))


class Router(nn.Module):
    """Which domain a picture belongs to: a small transformer over the decoder's coarsest map.

    The first token starts empty, gathers from the others, and is classified.
    """

    def __init__(self, *, features: int, embedding: int, heads: int, hidden: int, num_blocks: int, domains: int):
        super().__init__()
        self.embed = nn.Conv2d(features, embedding, kernel_size=1)
        self.blocks = nn.ModuleList(RouterBlock(features=embedding, heads=heads, hidden=hidden) for _ in range(num_blocks))
        self.expand = nn.Linear(embedding, embedding)
        self.contract = nn.Linear(embedding, domains)

    def forward(self, bottleneck: Tensor) -> Tensor:
        """B x M x h x w -> logits, B x D."""
        tokens = self.embed(bottleneck).flatten(2).transpose(1, 2)  # B M h w -> B N E
        tokens = F.pad(tokens, (0, 0, 1, 0))  # B N E -> B 1+N E, zeros first
        tokens = tokens + wave_positions(tokens.shape[1], tokens.shape[2], device=tokens.device).to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens)
        return self.contract(F.relu(self.expand(tokens[:, 0])))  # B 1+N E -> B E -> B D


def wave_positions(length: int, features: int, *, device: torch.device | None = None) -> Tensor:
    """Sine and cosine positions ("Attention is all you need", section 3.5), all sines first: length x features, float32."""
    frequencies = 10000.0 ** (-torch.arange(0, features, 2, device=device) / features)  # E/2
    angles = torch.arange(length, device=device)[:, None] * frequencies  # T E/2
    return torch.cat([angles.sin(), angles.cos()], dim=1)  # T E/2 -> T E
