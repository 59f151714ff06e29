"""Models with one part dropped or shuffled: a block of the encoder, or one attention head of a block.

    from experiments.ablation import ablate, find_parts

    parts = find_parts(dpt_model)
    changed = ablate(dpt_model, parts[3], "drop")      # another model that shares every weight; dpt_model is not touched

A block adds something to its tokens. "drop": it adds nothing. "shuffle": it adds the same things to the wrong tokens, so that
what the block says is still there and only *where* is lost. For a head the same is done to what it gives to its attention's
last layer. `experiments/ablation.py` serves stage_ablation.py and works with every family.

Shapes: B batch, N tokens (class token included where there is one), C features, A attention heads, D features of a head,
h w a grid, W windows, T tokens in a window, K channels.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.dpt_model import DPTModel
from lib.encoders.hybrid import Bottleneck
from lib.encoders.layers import Attention, TransformerBlock
from lib.encoders.levit import LevitAttention, LevitEncoder, LevitFeedForward
from lib.encoders.swin import SwinBlock, WindowAttention

MODES = ("drop", "shuffle")
SEED = 0  # of the order in which tokens are shuffled
HEADED = (Attention, WindowAttention, LevitAttention)  # their `project` gets all heads' results, one behind the other


@dataclass(frozen=True)
class Part:
    """What can be dropped. path: its module in the model; head: which one of an attention's, None for a whole block.

    block: the name of the block that it belongs to, as the encoder calls it. has_class_token: whether token 0 is no patch.
    """

    path: str
    block: str
    has_class_token: bool
    head: int | None = None

    @property
    def name(self) -> str:
        return self.block if self.head is None else f"{self.block} head {self.head}"


def find_parts(dpt_model: DPTModel, *, heads: bool = False) -> list[Part]:
    """The blocks of a model's encoder in their order, or the attention heads of all blocks.

    Left out are LeViT's shrinking layers, which add nothing but replace, and its layers behind the last tap, which never run.
    """
    encoder = dpt_model.imgencoder
    parts = []
    for name, module in encoder.named_modules():
        if not is_block(encoder, name, module):
            continue
        has_class_token = isinstance(module, TransformerBlock)
        if not heads:
            parts.append(Part(f"imgencoder.{name}", name, has_class_token))
            continue
        for inner, attention in module.named_modules():
            if isinstance(attention, HEADED):
                path = ".".join(filter(None, ["imgencoder", name, inner, "project"]))
                parts += [Part(path, name, has_class_token, head) for head in range(attention.heads)]
    return parts


def is_block(encoder: nn.Module, name: str, module: nn.Module) -> bool:
    """Whether a module inside the encoder adds to its input what could as well be left out."""
    if isinstance(module, LevitAttention | LevitFeedForward) and isinstance(encoder, LevitEncoder):
        return int(name.rsplit(".", 1)[-1]) <= encoder.taps[-1] and getattr(module, "stride", 1) == 1
    return isinstance(module, TransformerBlock | SwinBlock | Bottleneck)


def ablate(dpt_model: DPTModel, part: Part, mode: str) -> DPTModel:
    """A model without this part, or with it shuffled (see MODES). It shares all weights; the model itself stays as it is."""
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}; expected one of {', '.join(MODES)}")
    module = dpt_model.get_submodule(part.path)
    if part.head is not None:
        attention = dpt_model.get_submodule(part.path.rsplit(".", 1)[0])
        changed = AblatedHead(module, part.head, attention.heads, mode, part.has_class_token)
    else:
        changed = AblatedBlock(module, mode, part.has_class_token)
    return with_module(dpt_model, part.path, changed)


def with_module(parent: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """A copy of the parent with another module at this path. Copied are the modules on the path, everything else is shared."""
    name, _, rest = path.partition(".")
    copied = copy.copy(parent)
    copied._modules = dict(parent._modules)
    copied._modules[name] = with_module(parent._modules[name], rest, module) if rest else module
    return copied


class AblatedBlock(nn.Module):
    """In the place of a block: its input alone ("drop"), or what it adds in another order ("shuffle")."""

    def __init__(self, block: nn.Module, mode: str, has_class_token: bool):
        super().__init__()
        self.block, self.mode, self.has_class_token = block, mode, has_class_token
        self.stride = getattr(block, "stride", 1)  # LeViT's encoder asks

    def forward(self, tokens: Tensor, *more) -> Tensor:
        """As the block: B x N x C, B x h x w x C (Swin) or B x K x h x w (bottlenecks)."""
        without = self.without(tokens)
        if self.mode == "drop":
            return without
        added = self.block(tokens, *more) - without
        if isinstance(self.block, Bottleneck):
            return without + shuffle(added.flatten(2), dim=2).reshape(added.shape)
        if added.dim() == 4:  # Swin
            return without + shuffle(added.flatten(1, 2), dim=1).reshape(added.shape)
        return without + shuffle(added, dim=1, keeps_first=self.has_class_token)

    def without(self, tokens: Tensor) -> Tensor:
        """What comes out where the block adds nothing."""
        if isinstance(self.block, Bottleneck):
            return F.relu(tokens if self.block.shortcut is None else self.block.shortcut(tokens))
        if isinstance(self.block, LevitAttention | LevitFeedForward):  # the encoder itself adds the tokens
            return torch.zeros_like(tokens)
        return tokens


class AblatedHead(nn.Module):
    """In the place of an attention's last layer, which mixes the heads: one of them is set to zero, or shuffled, first."""

    def __init__(self, project: nn.Module, head: int, heads: int, mode: str, has_class_token: bool):
        super().__init__()
        self.project, self.head, self.heads, self.mode, self.has_class_token = project, head, heads, mode, has_class_token

    def forward(self, mixed: Tensor) -> Tensor:
        """B x N x C or, in windows, B x W x T x C, with the heads' D features one behind the other -> as the layer."""
        by_head = mixed.unflatten(-1, (self.heads, -1)).clone()  # . . C -> . . A D
        if self.mode == "drop":
            by_head[..., self.head, :] = 0
        else:
            one = by_head[..., self.head, :].flatten(1, -2)  # B N D, or B W T D -> B N D
            by_head[..., self.head, :] = shuffle(one, dim=1, keeps_first=self.has_class_token).reshape(
                by_head[..., self.head, :].shape
            )
        return self.project(by_head.flatten(-2))  # . . A D -> . . C


def shuffle(values: Tensor, *, dim: int, keeps_first: bool = False) -> Tensor:
    """The values along a dimension in an order that is random but always the same. keeps_first: the class token stays."""
    first = int(keeps_first)
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(values.shape[dim] - first, generator=generator) + first
    order = torch.cat([torch.arange(first), order]).to(values.device)
    return values.index_select(dim, order)
