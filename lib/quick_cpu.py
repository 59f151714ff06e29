"""Quicker ways to the same numbers on CPUs. Each is one function; the plain way stands where it is called, and tests hold the
two together. To understand DPT, nothing here is needed.

All of them rest on one observation: for float32 on CPUs, PyTorch gives matrix products and convolutions to different libraries,
and on some processors the one for convolutions takes half the time, most of all if a pixel's features lie side by side.

Shapes: B batch, A attention heads, T tokens, D features of a head, R the queries of one piece, h w a map's size.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

QUERIES_AT_ONCE = 640  # in `attend_in_pieces`: enough to keep the processor busy, few enough to stay in its cache
FEWEST_FOR_PIECES = 512  # tokens


def is_in_graph() -> bool:
    """Whether PyTorch records the model (compiles, exports, traces it) and does not run it."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_plain_cpu_inference(tensor: Tensor) -> bool:
    """Whether the ways of this file may be taken: on a CPU, nothing to train, and no compiler that chooses for itself."""
    if is_in_graph() or tensor.device.type != "cpu" or not tensor.numel():
        return False
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    return not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))


def linear_as_convolution(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """F.linear(tokens, weight, bias), computed as a 1x1 convolution: ... x C -> ... x C'.

    A linear layer treats every token alike, and a 1x1 convolution every pixel alike: for a picture that is one token wide they
    are the same.
    """
    picture = tokens.reshape(1, -1, 1, tokens.shape[-1]).permute(0, 3, 1, 2)  # ... C -> 1 C T 1, nothing moves in memory
    filters = weight.reshape(weight.shape[0], 1, 1, -1).permute(0, 3, 1, 2)  # C' C -> C' C 1 1
    result = F.conv2d(picture, filters, bias)  # 1 C T 1 -> 1 C' T 1
    return result.permute(0, 2, 3, 1).reshape(*tokens.shape[:-1], -1)  # 1 C' T 1 -> ... C'


def attend_in_pieces(query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor | None, scale: float | None) -> Tensor:
    """Attention as `attend` has it, one head and QUERIES_AT_ONCE queries at a time, with both products as convolutions.

    Memory grows with T, not with T x T. In bfloat16 the scores are rounded before the softmax, which PyTorch's fused kernel
    does afterwards: a single layer is less exact by that much.
    """
    product = linear_as_convolution if query.dtype == torch.float32 else F.linear  # R D, S D -> R S
    batch, heads, tokens, features = query.shape
    scale = features**-0.5 if scale is None else scale
    at_once = math.ceil(tokens / math.ceil(tokens / QUERIES_AT_ONCE))  # pieces of equal size
    bias = None if bias is None else bias.expand(batch, heads, tokens, tokens)
    mixed = torch.empty_like(query)
    for b, a in itertools.product(range(batch), range(heads)):
        keys, values = scale * key[b, a], value[b, a].t().contiguous()  # T D and D T
        for start in range(0, tokens, at_once):
            piece = slice(start, start + at_once)
            scores = product(query[b, a, piece], keys, None)  # R D, T D -> R T
            if bias is not None:
                scores = scores + bias[b, a, piece]
            mixed[b, a, piece] = product(scores.softmax(dim=-1), values, None)  # R T, D T -> R D
    return mixed


def pieces_are_quicker(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> bool:
    """Whether `attend_in_pieces` can do it, and beats PyTorch's fused kernel: self-attention among many tokens."""
    if not query.shape == key.shape == value.shape or query.shape[-2] < FEWEST_FOR_PIECES:
        return False
    tensors = [query, key, value] if bias is None else [query, key, value, bias]
    if query.dtype not in (torch.float32, torch.bfloat16) or any(tensor.dtype != query.dtype for tensor in tensors):
        return False
    return is_plain_cpu_inference(query) and all(map(has_memory, tensors))


def has_memory(tensor: Tensor) -> bool:
    """Whether the tensor is one of numbers, and not what `torch.vmap` puts in its place, which cannot be written into."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


def pixel_by_pixel(feature_map: Tensor) -> Tensor:
    """B x C x h x w -> the same map, the features of each pixel side by side in memory, not one plane after the other.

    Convolutions keep to the order that they are given, so this is done once, in front of the first.
    """
    if not is_plain_cpu_inference(feature_map):
        return feature_map
    # contiguous(memory_format=...) would leave a batch of one with strides from which convolutions cannot tell the order
    pixels = feature_map.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)  # B C h w -> B h w C
    return pixels.permute(0, 3, 1, 2)  # B h w C -> B C h w, and nothing moves
