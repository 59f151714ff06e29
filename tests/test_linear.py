"""The quick ways to compute linear layers and convolutions on the CPU give what the plain ways give."""

import pytest
import torch
import torch.nn.functional as F

from lib.encoders import layers
from lib.encoders.layers import Linear
from lib.quick_cpu import linear_as_convolution, pixel_by_pixel

SHAPES = [(1, 5, 8), (2, 7, 3, 8), (4, 8), (8,), (1, 1, 8)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("has_bias", [True, False])
def test_the_convolution_is_the_linear_layer(shape, has_bias):
    tokens, weight = torch.randn(shape, dtype=torch.float64), torch.randn(6, 8, dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64) if has_bias else None
    expected = F.linear(tokens, weight, bias)
    assert torch.allclose(linear_as_convolution(tokens, weight, bias), expected, rtol=0, atol=1e-12)


def test_tokens_that_are_a_view_of_others():
    tokens, weight = torch.randn(3, 8, 5).transpose(1, 2)[:, ::2], torch.randn(6, 8)
    assert torch.allclose(linear_as_convolution(tokens, weight, None), F.linear(tokens, weight), atol=1e-5)


def test_the_result_lies_in_memory_as_that_of_a_linear_layer():
    result = linear_as_convolution(torch.randn(2, 9, 16), torch.randn(24, 16), torch.randn(24))
    assert result.is_contiguous()


@pytest.fixture
def taken(monkeypatch):
    """Counts how often the quick way is taken."""
    calls = []

    def counted(*arguments):
        calls.append(1)
        return linear_as_convolution(*arguments)

    monkeypatch.setattr(layers, "linear_as_convolution", counted)
    return calls


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_the_quick_way_is_taken_in_inference_alone(taken):
    layer, tokens = Linear(8, 6), torch.randn(2, 5, 8)
    trained = layer(tokens)
    assert not taken
    with torch.no_grad():
        quick = layer(tokens)
        assert len(taken) == 1
        layer.fused = False
        plain = layer(tokens)
    assert len(taken) == 1
    assert torch.allclose(quick, plain, atol=1e-6) and torch.equal(plain, trained.detach())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_take_the_plain_way(taken, dtype):
    layer = Linear(8, 6).to(dtype)
    with torch.no_grad():
        layer(torch.randn(2, 5, 8, dtype=dtype))
    assert not taken


def test_nothing_to_compute():
    with torch.no_grad():
        assert Linear(8, 6)(torch.empty(2, 0, 8)).shape == (2, 0, 6)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("batch", [1, 3])
def test_maps_pixel_by_pixel_are_the_same_maps(batch):
    tokens = torch.randn(batch, 1 + 6 * 7, 8)
    feature_map = tokens[:, 1:].transpose(1, 2).unflatten(2, (6, 7))  # as reassemble makes it
    convolution = torch.nn.Conv2d(8, 4, 3)
    assert pixel_by_pixel(feature_map) is feature_map  # gradients are recorded
    with torch.no_grad():
        ours = pixel_by_pixel(feature_map)
        assert torch.equal(ours, feature_map)
        mapped = convolution(ours)
        assert mapped.is_contiguous(memory_format=torch.channels_last) and ours.stride() == (8 * 42, 1, 8 * 7, 8)
        assert torch.allclose(mapped, convolution(feature_map.contiguous()), atol=1e-5)
