"""Every MiDaS encoder trains through the modules that predict, and predicts in half precision."""

import pytest
import torch

from lib.dpt_model import DPTModel
from tests import midas
from tests.reference import synthetic_checkpoint

IMAGES = midas.images(128, 128, batch=2)


def gradients(model: DPTModel) -> dict[str, torch.Tensor]:
    """Of a loss that every pixel takes part in."""
    model.train()
    model(IMAGES).sin().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("family", midas.FAMILIES)
def test_a_gradient_reaches_every_weight_that_is_used(family):
    """LeViT's release has layers behind the last tap. They are not run."""
    model = midas.small_model(family)
    for key, gradient in gradients(model).items():
        is_behind = (
            family == "levit" and key.startswith("imgencoder.layers.") and int(key.split(".")[2]) > max(model.imgencoder.taps)
        )
        assert (gradient is None) == is_behind, key
        assert is_behind or torch.isfinite(gradient).all() and gradient.abs().max() > 0, key


@pytest.mark.parametrize("family", ["vit", "beit", "swin", "swin2"])
def test_the_bias_of_the_keys(family):
    """BEiT's release has none, and zeros stand for it here. With dot products it could not matter: it adds one constant to
    all scores of a query, which the softmax takes away again, so that its gradient is rounding noise. SwinV2, whose
    release has none either, compares directions: there a bias would act, and training may move it away from zero."""
    for key, gradient in gradients(midas.small_model(family)).items():
        if key.endswith("qkv.bias"):
            of_queries, of_keys, _ = gradient.abs().chunk(3)
            assert (of_keys.max() < 1e-3 * of_queries.max()) == (family != "swin2"), key


@pytest.mark.parametrize("family", midas.FAMILIES)
def test_a_few_steps_lower_the_loss(family):
    """Towards the same map turned upside down, as a fine-tuning would: from good weights, with a small rate."""
    model = midas.small_model(family)
    target = model.inference(IMAGES).flip(1)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = (model(IMAGES) - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses[-3:]) < 0.8 * losses[0]


def mean_error_in_bfloat16(model: DPTModel, image: torch.Tensor) -> float:
    """How far a model in bfloat16 is from itself in float32: mean difference in standard deviations."""
    exact = model.inference(image)
    assert exact.std() > 0.5 and (exact > 0).float().mean() > 0.95
    rounded = model.to(torch.bfloat16).inference(image)
    assert rounded.dtype == torch.bfloat16
    return float((rounded.float() - exact).abs().mean() / exact.std())


@pytest.mark.parametrize(
    "family, limit", [("vit", 0.03), ("beit", 0.03), ("swin2", 0.03), ("swin", 0.03), ("hybrid", 0.06), ("levit", 0.03)]
)
def test_bfloat16_stays_near_float32(family, limit):
    """Rounding the hybrid's weights alone costs that much: its normalised filters amplify what rounding does to random ones."""
    assert mean_error_in_bfloat16(midas.small_model(family), midas.images(128, 128)) <= limit


@pytest.mark.parametrize("name, side", [("dpt_swin2_tiny_256", 256), ("dpt_beit_base_384", 384), ("dpt_levit_224", 224)])
def test_bfloat16_stays_near_float32_at_full_size(name, side):
    _, model = midas.load(synthetic_checkpoint.build(name, seed=7), f"{name}.pt")
    assert mean_error_in_bfloat16(model, synthetic_checkpoint.model_input(name, side, side)) <= 0.03
