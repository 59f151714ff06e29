"""Records what happens inside a model, attention and tokens of chosen blocks and nothing else, and comes off again.

    from experiments.recorder import Recorder, find_blocks

    print([block.name for block in find_blocks(dpt_model)])
    with Recorder(dpt_model, attention=[3], tokens=[3, 7]) as recorder:
        dpt_model.inference(image_tensor)
    recorder.attention[3].row(0)    # how the first token of block 3 shares out its attention: B x A x N
    recorder.tokens[7].features     # what block 7 gave to the next one: B x N x C

`experiments/recorder.py` works with every family: ViT, DINOv2, BEiT, hybrid, SwinV2, Swin, LeViT. The weights recorded are
those that the model really used: inside the chosen attention modules the plain softmax path runs instead of the fused one
(which never has the weights), and its softmax is caught on the way. Outside the `with` block nothing of that is left.

Shapes: B batch, h w a block's token grid, N tokens (class token included), C features, A attention heads, W windows (1 where
attention is global), T queries and S keys of a window, Q K all queries and keys of the picture.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lib.dpt_model import DPTModel
from lib.encoders.levit import LevitAttention, LevitEncoder, LevitFeedForward
from lib.encoders.swin import SwinBlock, SwinEncoder, split_windows

SOFTMAX = (Tensor.softmax, torch.softmax, torch.nn.functional.softmax)


@dataclass(frozen=True)
class Block:
    """A block of an encoder: `attention` is its attention module, and the tokens after it come out of `last`."""

    name: str
    attention: nn.Module
    last: nn.Module


@dataclass(frozen=True)
class AttentionRecord:
    """One block's attention. A token's number: the class token is 0 where there is one, patches follow row by row.

    weights: B x W x A x T x S, each row of S numbers sums to 1. query_tokens (W x T) and key_tokens (W x S) say which tokens
    of the picture the places in the windows are; shifted windows are shifted back there. has_shortcut: whether the tokens
    themselves are added to what was attended to (not where LeViT's grid shrinks).
    """

    weights: Tensor
    query_tokens: Tensor
    key_tokens: Tensor
    query_grid_hw: tuple[int, int]
    key_grid_hw: tuple[int, int]
    has_class_token: bool
    has_shortcut: bool = True

    @property
    def heads(self) -> int:
        return self.weights.shape[2]

    def mean_heads(self) -> "AttentionRecord":
        """The same with one head: the mean of all."""
        return replace(self, weights=self.weights.mean(2, keepdim=True))

    def row(self, token: int) -> Tensor:
        """How this query shares out its attention among all keys: B x A x K, each sums to 1."""
        window, place = find(self.query_tokens, token)
        row = self.weights.new_zeros(*self.weights.shape[:1], self.heads, self.key_tokens.numel())
        row[:, :, self.key_tokens[window]] = self.weights[:, window, :, place]
        return row

    def column(self, token: int) -> Tensor:
        """How much attention every query pays to this key: B x A x Q, each number between 0 and 1."""
        window, place = find(self.key_tokens, token)
        column = self.weights.new_zeros(*self.weights.shape[:1], self.heads, self.query_tokens.numel())
        column[:, :, self.query_tokens[window]] = self.weights[:, window, :, :, place]
        return column

    def from_queries(self, shares: Tensor) -> Tensor:
        """B x A x Q numbers for the queries -> B x A x K: each query's number shared out by its attention (a row times the
        whole matrix)."""
        per_window = shares[:, :, self.query_tokens]  # B A Q -> B A W T
        spread = torch.einsum("bawt,bwats->baws", per_window, self.weights)  # -> B A W S
        result = spread.new_zeros(*spread.shape[:2], self.key_tokens.numel())
        result[:, :, self.key_tokens.flatten()] = spread.flatten(2)  # B A W S -> B A K; no key is in two windows
        return result

    def from_keys(self, values: Tensor) -> Tensor:
        """B x A x K numbers of the keys -> B x A x Q: the mean that each query's attention takes (the matrix times a
        column)."""
        per_window = values[:, :, self.key_tokens]  # B A K -> B A W S
        mixed = torch.einsum("baws,bwats->bawt", per_window, self.weights)  # -> B A W T
        result = mixed.new_zeros(*mixed.shape[:2], self.query_tokens.numel())
        result[:, :, self.query_tokens.flatten()] = mixed.flatten(2)  # B A W T -> B A Q
        return result


@dataclass(frozen=True)
class TokenRecord:
    """What a block gives to the next one. features: B x N x C, the class token first where there is one."""

    features: Tensor
    grid_hw: tuple[int, int]
    has_class_token: bool

    def patches(self) -> Tensor:
        """The patches' tokens on their grid: B x h x w x C."""
        return self.features[:, int(self.has_class_token) :].unflatten(1, self.grid_hw)  # B N C -> B h w C


def find(tokens: Tensor, token: int) -> tuple[int, int]:
    """Window and place of a token in a W x T table of token numbers. Raises IndexError for a token that is not there."""
    places = (tokens == token).nonzero()
    if len(places) != 1:
        raise IndexError(f"there is no token {token} among {tokens.numel()}")
    return int(places[0, 0]), int(places[0, 1])


def find_blocks(dpt_model: DPTModel) -> list[Block]:
    """The blocks of a model's encoder in the order in which they run. LeViT's weights that are never used are left out."""
    encoder = getattr(dpt_model.imgencoder, "vit", dpt_model.imgencoder)  # the hybrid's second half is a ViT
    if isinstance(encoder, SwinEncoder):
        return [
            Block(f"stage {stage} block {number}", block.attention, block)
            for stage, blocks in enumerate(encoder.stages)
            for number, block in enumerate(blocks)
        ]
    if isinstance(encoder, LevitEncoder):  # layers in turn: attention, feed-forward
        pairs = zip(encoder.layers[::2], encoder.layers[1::2], strict=True)
        used = (encoder.taps[-1] + 1) // 2
        return [Block(f"block {number}", *pair) for number, pair in enumerate(pairs) if number < used]
    return [Block(f"block {number}", block.attention, block) for number, block in enumerate(encoder.blocks)]


class Recorder:
    """Inside a `with` block, keeps what the model's last run computed in the chosen blocks, as float32 on the CPU.

    attention, mean_attention, tokens: numbers of blocks (see `find_blocks`) whose attention, attention averaged over heads
    and tokens are kept, in the dictionaries of the same names. Blocks that are not named cost nothing. Run the model in the
    thread that opened the block. Raises ValueError for a block that is not there.
    """

    def __init__(
        self,
        dpt_model: DPTModel,
        *,
        attention: Iterable[int] = (),
        mean_attention: Iterable[int] = (),
        tokens: Iterable[int] = (),
    ):
        self.dpt_model = dpt_model
        self.blocks = find_blocks(dpt_model)
        self.wanted = {"attention": set(attention), "mean_attention": set(mean_attention), "tokens": set(tokens)}
        unknown = set().union(*self.wanted.values()) - set(range(len(self.blocks)))
        if unknown:
            raise ValueError(f"this model has the blocks 0 to {len(self.blocks) - 1}, not {sorted(unknown)}")
        self._undo = ExitStack()
        self.clear()

    def clear(self) -> None:
        """Forget what was recorded."""
        self.attention: dict[int, AttentionRecord] = {}
        self.mean_attention: dict[int, AttentionRecord] = {}
        self.tokens: dict[int, TokenRecord] = {}
        self._grid_hw = self._windows = None

    def __enter__(self):
        hook = self._hook
        hook(self.dpt_model.patch_embed.register_forward_hook, self._after_patch_embed)
        for number, block in enumerate(self.blocks):
            is_asked = number in self.wanted["attention"] | self.wanted["mean_attention"]
            if isinstance(block.last, SwinBlock) and is_asked:
                hook(block.last.register_forward_pre_hook, self._before_swin_block)
            if is_asked:
                self._listen(number, block.attention)
            if number in self.wanted["tokens"]:
                hook(block.last.register_forward_hook, lambda *run, number=number: self._after_block(number, *run))
        return self

    def __exit__(self, *_) -> None:
        """Comes off: no hook is left, every attention module takes its former path, and the model holds nothing of this."""
        self._undo.close()

    def _hook(self, register: Callable, function: Callable, **options) -> None:
        self._undo.callback(register(function, **options).remove)

    def _listen(self, number: int, module: nn.Module) -> None:
        """Makes a module take the plain path, and catches its softmax."""
        catcher = SoftmaxCatcher()
        self._undo.callback(setattr, module, "fused", module.fused)
        module.fused = False

        def before(module: nn.Module, inputs: tuple) -> None:  # the catcher is on only while this module runs
            catcher.__enter__()

        def after(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            catcher.__exit__(None, None, None)
            if catcher.weights is not None:
                self._keep_attention(number, module, inputs[0].shape[0], catcher.weights)
            catcher.weights = None

        self._hook(module.register_forward_pre_hook, before)
        self._hook(module.register_forward_hook, after, always_call=True)  # also when the run ends in an error

    def _after_patch_embed(self, module: nn.Module, inputs: tuple, output: tuple) -> None:
        self._grid_hw = output[1]

    def _before_swin_block(self, block: SwinBlock, inputs: tuple) -> None:
        """Remembers how this block cuts its grid into windows."""
        grid, windows_hw = inputs
        grid_hw = (grid.shape[1], grid.shape[2])
        shift_hw = block.shift(grid_hw, windows_hw)
        numbers = torch.arange(grid_hw[0] * grid_hw[1]).reshape(1, *grid_hw, 1)  # the same way as the tokens themselves
        shifted = numbers.roll((-shift_hw[0], -shift_hw[1]), dims=(1, 2))
        self._windows = (grid_hw, split_windows(shifted, windows_hw)[0, :, :, 0])  # 1 h w 1 -> W T

    def _keep_attention(self, number: int, module: nn.Module, batch: int, weights: Tensor) -> None:
        weights = weights.float().cpu()
        if isinstance(module, LevitAttention):
            small = (-(-module.side // module.stride),) * 2
            layout = self._in_order(weights, small, (module.side, module.side))
            record = AttentionRecord(*layout, has_class_token=False, has_shortcut=module.stride == 1)
        elif self._windows is not None:
            grid_hw, tokens = self._windows
            # The windows stand in the batch or beside the heads; in memory the order is the same.
            weights = weights.reshape(batch, len(tokens), -1, *weights.shape[-2:])  # -> B W A T T
            record = AttentionRecord(weights, tokens, tokens, grid_hw, grid_hw, has_class_token=False)
        else:
            record = AttentionRecord(*self._in_order(weights, self._grid_hw, self._grid_hw), has_class_token=True)
        if number in self.wanted["attention"]:
            self.attention[number] = record
        if number in self.wanted["mean_attention"]:
            self.mean_attention[number] = record.mean_heads()

    @staticmethod
    def _in_order(weights: Tensor, query_grid_hw: tuple[int, int], key_grid_hw: tuple[int, int]) -> tuple:
        """The first arguments of a record whose attention is global: every token is where it is."""
        queries, keys = (torch.arange(count)[None] for count in weights.shape[-2:])
        return weights[:, None], queries, keys, query_grid_hw, key_grid_hw  # B A Q K -> B 1 A Q K

    def _after_block(self, number: int, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if isinstance(module, SwinBlock):
            grid_hw, features, has_class_token = tuple(output.shape[1:3]), output.flatten(1, 2), False  # B h w C -> B N C
        elif isinstance(module, LevitFeedForward):  # the encoder adds what a layer gives to what it got
            side = math.isqrt(output.shape[1])
            grid_hw, features, has_class_token = (side, side), inputs[0] + output, False
        else:
            grid_hw, features, has_class_token = self._grid_hw, output, True
        self.tokens[number] = TokenRecord(features.detach().float().cpu(), grid_hw, has_class_token)


class SoftmaxCatcher(TorchFunctionMode):
    """While it is entered, keeps the result of the last softmax that this thread computes."""

    weights: Tensor | None = None

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in SOFTMAX:
            self.weights = result.detach()
        return result
