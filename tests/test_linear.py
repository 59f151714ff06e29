"""The quick way to compute a linear layer on the CPU gives what the plain way gives."""

import pytest
import torch
import torch.nn.functional as F

from lib.encoders import layers
from lib.encoders.layers import Linear, linear_as_convolution

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
