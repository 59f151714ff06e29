"""Both attentions compute the formula of the paper, and agree in a whole model."""

import math

import pytest
import torch
import torch.nn.functional as F

from lib import quick_cpu
from lib.encoders import layers
from lib.encoders.layers import Attention, attend
from lib.make_dpt import make_dpt_from_state_dict
from lib.quick_cpu import attend_in_pieces
from tests.conftest import SAME, difference, read_golden

SHAPE = (2, 3, 5, 4)  # B A T D
BIASES = {
    "no bias": None,
    "one for each head": (1, 3, 5, 5),
    "without batch": (3, 5, 5),
    "one for all heads": (1, 1, 5, 5),
    "one for each picture": (2, 1, 5, 5),
}


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attend_by_loops(query, key, value, bias, scale):
    """Equation 1, one number at a time."""
    batch, heads, tokens, features = SHAPE
    bias = torch.zeros(()) if bias is None else bias
    bias = bias.expand(batch, heads, tokens, tokens)
    result = torch.zeros(SHAPE, dtype=torch.float64)
    for b in range(batch):
        for a in range(heads):
            for i in range(tokens):
                scores = [float(bias[b, a, i, j]) for j in range(tokens)]
                for j in range(tokens):
                    scores[j] += scale * sum(float(query[b, a, i, d] * key[b, a, j, d]) for d in range(features))
                total = sum(math.exp(score) for score in scores)
                for j in range(tokens):
                    result[b, a, i] += math.exp(scores[j]) / total * value[b, a, j]
    return result


@pytest.mark.parametrize("scale", [None, 0.3], ids=["usual scale", "own scale"])
@pytest.mark.parametrize("bias_shape", BIASES.values(), ids=BIASES.keys())
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_attention_is_the_formula(fused, bias_shape, scale):
    query, key, value = (3 * noise(*SHAPE, seed=seed) for seed in range(3))
    bias = None if bias_shape is None else noise(*bias_shape, seed=3)
    ours = attend(query, key, value, bias=bias, scale=scale, fused=fused)
    expected = attend_by_loops(query, key, value, bias, SHAPE[-1] ** -0.5 if scale is None else scale)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_minus_infinity_masks(fused):
    """A bias of minus infinity takes a token out, as if it were not there."""
    query, key, value = (noise(*SHAPE, seed=seed) for seed in range(3))
    bias = torch.zeros(5, 5, dtype=torch.float64)
    bias[:, 3:] = float("-inf")
    ours = attend(query, key, value, bias=bias, fused=fused)
    assert torch.allclose(ours, attend(query, key[:, :, :3], value[:, :, :3], fused=fused), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias_shape", BIASES.values(), ids=BIASES.keys())
def test_both_attentions_pass_on_the_same_gradients(bias_shape):
    gradients = []
    for fused in (True, False):
        inputs = [noise(*SHAPE, seed=seed).requires_grad_() for seed in range(3)]
        if bias_shape is not None:
            inputs.append(noise(*bias_shape, seed=3).requires_grad_())
        bias = inputs[3] if bias_shape is not None else None
        attend(*inputs[:3], bias=bias, fused=fused).pow(3).sum().backward()
        gradients.append([each.grad for each in inputs])
    for ours, other in zip(*gradients, strict=True):
        assert torch.allclose(ours, other, rtol=1e-9, atol=1e-9) and other.abs().max() > 0


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("scale", [None, 0.3], ids=["usual scale", "own scale"])
@pytest.mark.parametrize("bias_shape", BIASES.values(), ids=BIASES.keys())
def test_attention_in_pieces_is_the_formula(bias_shape, scale, at_once, monkeypatch):
    monkeypatch.setattr(quick_cpu, "QUERIES_AT_ONCE", at_once)
    query, key, value = (3 * noise(*SHAPE, seed=seed) for seed in range(3))
    bias = None if bias_shape is None else noise(*bias_shape, seed=3)
    expected = attend_by_loops(query, key, value, bias, SHAPE[-1] ** -0.5 if scale is None else scale)
    ours = attend_in_pieces(query, key, value, bias=bias, scale=scale)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-12)
    inputs = (query.float(), key.float(), value.float())
    rounded = attend_in_pieces(*inputs, bias=None if bias is None else bias.float(), scale=scale)
    assert torch.allclose(rounded.double(), expected, rtol=0, atol=1e-4)


@pytest.fixture
def taken(monkeypatch) -> list:
    """Counts how often attention takes the quick way."""
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return attend_in_pieces(*args, **options)

    monkeypatch.setattr(layers, "attend_in_pieces", counted)
    return calls


def many_tokens(features: int = 8) -> list[torch.Tensor]:
    return [noise(1, 2, quick_cpu.FEWEST_FOR_PIECES + 3, features, seed=seed).float() for seed in range(3)]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_many_tokens_are_attended_to_in_pieces_in_inference_alone(taken):
    many = many_tokens()
    recorded = attend(*many)
    with torch.no_grad():
        attend(*(each[:, :, :100] for each in many))
        with torch.autocast("cpu"):
            attend(*many)
        with torch.backends.mkldnn.flags(enabled=False):
            attend(*many)
        assert taken == []
        quick = attend(*many)
        assert len(taken) == 1
        plain = attend(*many, fused=False)
    assert torch.allclose(quick, plain, atol=1e-5) and torch.allclose(quick, recorded, atol=1e-5)


def test_what_pieces_cannot_do_goes_to_the_fused_kernel(taken):
    """Other tokens than those that ask, wider values, values of all pictures, and biases of another type."""
    query, key, value = many_tokens()
    tokens = query.shape[-2]
    bias = noise(2, tokens, tokens, seed=5).float()
    cases = [
        ((query[:, :, :-1], key, value), None),
        ((query, key, torch.cat([value, value], dim=-1)), None),
        ((query.expand(2, -1, -1, -1), key.expand(2, -1, -1, -1), value), None),
        ((query, key, value), bias > 0),
        ((query.bfloat16(), key.bfloat16(), value.bfloat16()), bias),
    ]
    with torch.no_grad():
        for inputs, mask in cases:
            other = None if mask is None else mask.float().log() if mask.dtype == torch.bool else mask
            expected = attend(*(each.float() for each in inputs), bias=other, fused=False)
            limit = 1e-5 if inputs[0].dtype == torch.float32 else 0.1
            assert (attend(*inputs, bias=mask).float() - expected).abs().max() < limit
    assert taken == []


@pytest.mark.parametrize("batched", [(0, 1, 2, 3), (3,), (2,), (1, 2)], ids=str)
def test_many_tokens_inside_vmap(batched):
    """Whichever of query, key, value and bias differ, as when a model is run with many weights at once."""
    tokens = quick_cpu.FEWEST_FOR_PIECES + 3
    inputs = [*many_tokens(), noise(1, 2, tokens, tokens, seed=5).float()]
    stacked = [torch.stack([each, 2 * each]) if place in batched else each for place, each in enumerate(inputs)]

    def run(query, key, value, bias):
        return attend(query, key, value, bias=bias)

    with torch.no_grad():
        together = torch.vmap(run, in_dims=tuple(0 if place in batched else None for place in range(4)))(*stacked)
        for number in range(2):
            alone = [each[number] if place in batched else each for place, each in enumerate(stacked)]
            assert torch.allclose(together[number], run(*alone), atol=1e-5)


def test_pieces_in_bfloat16_are_near_the_formula():
    inputs = [each.bfloat16() for each in many_tokens(features=64)]
    ours = attend_in_pieces(*inputs, bias=None, scale=None)
    expected = attend(*(each.double() for each in inputs), fused=False)
    assert ours.dtype == torch.bfloat16 and (ours.double() - expected).abs().max() < 0.02 * expected.abs().max()


def test_heads_do_not_see_each_other():
    """What one head is given changes its own share of the features alone."""
    layer = Attention(features=8, heads=2).double()
    layer.project = torch.nn.Identity()
    tokens = noise(1, 5, 8, seed=0)
    before = layer(tokens)
    with torch.no_grad():
        layer.qkv.weight[[0, 8, 16]] += 1.0  # the first feature of the first head's query, key and value
    changed = (layer(tokens) - before).abs().amax(dim=(0, 1))
    assert (changed[:4] > 0).all() and (changed[4:] == 0).all()


@pytest.mark.parametrize("features, heads", [(10, 3), (8, 0), (8, -2)])
def test_features_must_divide_over_the_heads(features, heads):
    with pytest.raises((ValueError, ZeroDivisionError)):
        Attention(features=features, heads=heads)


def test_the_switch_reaches_every_attention(tiny_v2, monkeypatch):
    golden = read_golden("tiny_depth_anything_v2", "70x126")
    _, model, _ = make_dpt_from_state_dict(tiny_v2)
    fused = model.inference(golden.image)
    model.set_fused_attention(False)
    calls = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *args, **options: calls.append(args))
    plain = model.inference(golden.image)
    assert calls == [] and difference(plain, fused) <= SAME
    monkeypatch.undo()
    model.set_fused_attention(True)
    assert torch.equal(model.inference(golden.image), fused)


@pytest.mark.parametrize("dtype, limit", [(torch.bfloat16, 0.05), (torch.float16, 0.01)], ids=str)
def test_both_attentions_agree_in_half_precision(tiny_v2, dtype, limit):
    image = read_golden("tiny_depth_anything_v2", "70x126").image
    _, model, _ = make_dpt_from_state_dict(tiny_v2)
    model.to(dtype)
    fused = model.inference(image).float()
    model.set_fused_attention(False)
    plain = model.inference(image).float()
    assert (fused - plain).abs().mean() <= limit * fused.std()
