"""What the image encoders share: patch embedding, attention, feed-forward networks, the transformer block, one cache.

Shapes: B batch, H W picture, P patch side, N patch tokens (one per patch, row by row), T tokens in all (class token
included), C features of a token, A attention heads, D = C / A features of a head.
"""

from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..quick_cpu import attend_in_pieces, is_in_graph, is_plain_cpu_inference, linear_as_convolution, pieces_are_quicker


def check_picture(image_rgb: Tensor, multiple: int) -> None:
    """Raises ValueError unless this is B x 3 x H x W, and H and W are multiples of this many pixels."""
    if image_rgb.dim() != 4 or image_rgb.shape[1] != 3:
        raise ValueError(f"expected picture tensors of shape B x 3 x H x W, got {tuple(image_rgb.shape)}")
    height, width = image_rgb.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        raise ValueError(f"the picture tensor is {height} x {width}, but both sides must be multiples of {multiple}")


class PatchEmbed(nn.Module):
    """Cuts a picture into square patches and turns each into one token ("ViT" paper, section 3.1).

    Every patch goes through the same linear map. Written as a convolution whose stride is its kernel size, because a
    linear map of non-overlapping patches is exactly that. norm=True (Swin) normalises each token afterwards.
    """

    def __init__(self, *, features: int, patch_size: int, norm: bool = False):
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(3, features, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(features) if norm else nn.Identity()

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """B x 3 x H x W picture -> B x N x C tokens, and the patch grid (rows, columns) with rows * columns = N.

        Raises ValueError for tensors of another shape, and when H or W is not a multiple of the patch size.
        """
        check_picture(image_rgb, self.patch_size)
        patches = self.projection(image_rgb)  # B 3 H W -> B C H/P W/P
        grid_hw = (patches.shape[-2], patches.shape[-1])
        return self.norm(patches.flatten(2).transpose(1, 2)), grid_hw  # B C H/P W/P -> B N C


class Linear(nn.Linear):
    """nn.Linear, which takes the way of `linear_as_convolution` where that is quicker. `fused` switches that off."""

    def __init__(self, features_in: int, features_out: int, *, bias: bool = True):
        super().__init__(features_in, features_out, bias=bias)
        self.fused = True

    def forward(self, tokens: Tensor) -> Tensor:
        """... x C -> ... x C'."""
        is_float32 = tokens.dtype == self.weight.dtype == torch.float32
        if self.fused and is_float32 and is_plain_cpu_inference(tokens):
            return linear_as_convolution(tokens, self.weight, self.bias)
        return super().forward(tokens)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    bias: Tensor | None = None,
    scale: float | None = None,
    fused: bool = True,
) -> Tensor:
    """Scaled dot-product attention ("Attention is all you need", equation 1): softmax(scale Q K^T + bias) V.

    query, key, value: B x A x T x D; bias: broadcastable to B x A x T x T, or None. scale: 1 / sqrt(D) unless given. Returns
    B x A x T x D.
    fused=True never stores the T x T table: PyTorch has a kernel that does all at once, and `attend_in_pieces` is quicker among
    many tokens on CPUs. fused=False spells the formula out, for study. All give the same numbers up to rounding.
    """
    if fused and pieces_are_quicker(query, key, value, bias):
        return attend_in_pieces(query, key, value, bias=bias, scale=scale)
    if fused:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = (query * scale) @ key.transpose(-2, -1)  # B A T D -> B A T T
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ value  # B A T T -> B A T D


def check_heads(features: int, heads: int) -> None:
    """Raises ValueError unless the features can be shared out equally among the attention heads."""
    if heads < 1 or features % heads:
        raise ValueError(f"{features} features cannot be split over {heads} attention heads")


class Attention(nn.Module):
    """Multi-head self-attention. The attribute `fused` chooses between the two paths of `attend`."""

    def __init__(self, *, features: int, heads: int):
        super().__init__()
        check_heads(features, heads)
        self.heads = heads
        self.fused = True
        self.qkv = Linear(features, 3 * features)
        self.project = Linear(features, features)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """B x T x C -> B x T x C. `bias` (broadcastable to B x A x T x T) is added before the softmax."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))  # B T 3C -> B T 3 A D
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # B T 3 A D -> three times B A T D
        mixed = attend(query, key, value, bias=bias, fused=self.fused)
        return self.project(mixed.transpose(1, 2).flatten(2))  # B A T D -> B T C


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU between them, applied to each token alone."""

    def __init__(self, *, features: int, hidden: int):
        super().__init__()
        self.expand = Linear(features, hidden)
        self.contract = Linear(hidden, features)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x T x C -> B x T x C."""
        return self.contract(F.gelu(self.expand(tokens)))


class SwiGLU(nn.Module):
    """Gated feed-forward network of the giant DINOv2: SiLU(half of the features) times the other half."""

    def __init__(self, *, features: int, hidden: int):
        super().__init__()
        self.expand = Linear(features, 2 * hidden)
        self.contract = Linear(hidden, features)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x T x C -> B x T x C."""
        gate, value = self.expand(tokens).chunk(2, dim=-1)
        return self.contract(F.silu(gate) * value)


FEED_FORWARD = {"gelu": FeedForward, "swiglu": SwiGLU}


def check_taps(taps: Sequence[int], num_blocks: int) -> None:
    """Raises ValueError unless these are numbers of blocks, in the order in which they run."""
    if not taps or list(taps) != sorted(set(taps)) or not 0 <= taps[0] <= taps[-1] < num_blocks:
        raise ValueError(f"cannot tap blocks {list(taps)} of {num_blocks}; expected their numbers from 0, in rising order")


def check_norm_eps(norm_eps: float) -> None:
    """Raises ValueError unless this is a number that keeps a normalisation from dividing by zero."""
    if not norm_eps > 0:
        raise ValueError(f"{norm_eps=}, expected a small number above zero")


class LayerScale(nn.Module):
    """One learned factor per feature on what a block adds ("Going deeper with image transformers", equation 4)."""

    def __init__(self, features: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(features))

    def forward(self, tokens: Tensor) -> Tensor:
        """B x T x C -> B x T x C."""
        return tokens * self.gamma


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: tokens + attention(norm(tokens)), then the same with a feed-forward network."""

    def __init__(
        self, *, features: int, heads: int, hidden: int, norm_eps: float, layer_scale: bool, feed_forward: str = "gelu"
    ):
        super().__init__()
        check_norm_eps(norm_eps)
        self.norm_1 = nn.LayerNorm(features, eps=norm_eps)
        self.attention = Attention(features=features, heads=heads)
        self.scale_1 = LayerScale(features) if layer_scale else nn.Identity()
        self.norm_2 = nn.LayerNorm(features, eps=norm_eps)
        self.feed_forward = FEED_FORWARD[feed_forward](features=features, hidden=hidden)
        self.scale_2 = LayerScale(features) if layer_scale else nn.Identity()

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """B x T x C -> B x T x C. `bias` goes to the attention."""
        tokens = tokens + self.scale_1(self.attention(self.norm_1(tokens), bias))
        return tokens + self.scale_2(self.feed_forward(self.norm_2(tokens)))


COMPARED_DEVICES = ("cpu",)  # where looking at the weights' values does not make anybody wait


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; tensors made in inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version


class WeightCache(nn.Module):
    """Remembers what a pure function computed from some weights, and never serves a stale result.

    Position encodings depend on the weights and the size of the patch grid alone, so for a video or a folder of equal
    pictures they need computing once. A result is served again only if the key is the same and the weights are the same
    tensors with the same version (every in-place change that PyTorch tracks raises it), and nobody wrote into the
    result. On the CPU the weights' values are compared too, because writes through `tensor.data` leave no version;
    elsewhere comparing would make the device wait, so after such a write call `clear()`, or `train()`/`eval()`/`to()`,
    which clear as well.

    Steps aside (computes, stores nothing) when switched off, while gradients are being recorded, and while PyTorch
    traces or compiles the model. Holds at most `max_entries` results, dropping the one used longest ago. It is a module
    only so that `to()` and `train()` of the model reach it; it has no parameters and adds no key to a state dict.
    """

    def __init__(self, max_entries: int = 4):
        super().__init__()
        self.enabled = True
        self.max_entries = max_entries
        # oldest first; a plain dict, each of whose operations is atomic: threads may share a model
        self._entries: dict[Hashable, tuple[list, list[Tensor], Tensor, int]] = {}

    def forward(self, compute: Callable[[], Tensor], *, weights: Sequence[Tensor], key: Hashable) -> Tensor:
        """compute(), or what it returned last time for this `key` and these `weights`."""
        if not self._may_cache(weights):
            return compute()
        device_type = weights[0].device.type
        compares_values = device_type in COMPARED_DEVICES
        if torch.is_autocast_enabled(device_type):  # another precision: other numbers
            key = (key, torch.get_autocast_dtype(device_type))
        try:
            fingerprints = [(w.data_ptr(), w._version, w.shape, w.dtype, w.device) for w in weights]
        except RuntimeError:  # weights without storage of their own: inside torch.vmap
            return compute()
        entry = self._entries.pop(key, None)
        if entry is not None:
            old_fingerprints, old_weights, result, old_version = entry
            is_same = fingerprints == old_fingerprints and _version(result) == old_version
            if is_same and (not compares_values or all(map(torch.equal, weights, old_weights))):
                self._entries[key] = entry  # back in, as the newest
                return result
            self.clear()  # the weights changed: every other entry is stale too
        # The copies are what the comparison above needs; elsewhere holding on to the storage itself keeps its address
        # from being given to other weights, which would make the fingerprint ambiguous. Copied before computing: if
        # another thread writes meanwhile, the result does not match the copies, and is never served.
        kept = [w.detach().clone() if compares_values else w.detach() for w in weights]
        result = compute()
        self._entries[key] = (fingerprints, kept, result, _version(result))
        for oldest in list(self._entries)[: -self.max_entries]:
            self._entries.pop(oldest, None)
        return result

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def num_bytes(self) -> int:
        """Memory of the results that are held, without the small copies of the weights they were computed from."""
        results = [result for _, _, result, _ in list(self._entries.values())]
        return sum(result.untyped_storage().nbytes() for result in results)

    def __len__(self) -> int:
        """How many results are held."""
        return len(self._entries)

    def _may_cache(self, weights: Sequence[Tensor]) -> bool:
        if not self.enabled or torch.is_grad_enabled():
            return False
        if is_in_graph():
            return False
        return not any(w.is_inference() or w.is_meta for w in weights)  # neither has a version to check

    def _apply(self, fn, recurse=True):  # .to(), .half(), .cuda(), ...: the model moved
        self.clear()
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True):
        self.clear()
        return super().train(mode)

    def __deepcopy__(self, memo):  # a copied or pickled model starts with an empty cache
        copied = WeightCache(self.max_entries)
        copied.__setstate__({"enabled": self.enabled, "training": self.training})
        return copied

    def __reduce__(self):
        return (WeightCache, (self.max_entries,), {"enabled": self.enabled, "training": self.training})

    def __setstate__(self, state):
        self.enabled, self.training = state["enabled"], state["training"]
