"""Training works through the same modules: gradients reach every weight, caches step aside, a loss goes down."""

import pytest
import torch

from lib.make_dpt import make_dpt_from_state_dict
from tests.conftest import read_golden
from tests.reference import synthetic_checkpoint

NAMES = [f"tiny_depth_anything_{name}" for name in ("v1", "v2", "v2_swiglu", "v2_metric_hypersim")]
IMAGES = synthetic_checkpoint.model_input("training", 56, 70, batch=2)


def gradients(model: torch.nn.Module, images: torch.Tensor = IMAGES) -> dict[str, torch.Tensor]:
    """Of a loss that every pixel takes part in."""
    model.train()
    model.zero_grad()
    model(images).sin().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_reaches_every_weight(weight_file, name):
    _, model, _ = make_dpt_from_state_dict(weight_file(name))
    for key, gradient in gradients(model).items():
        assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().max() > 0, key


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "after predictions"])
def test_gradients_do_not_depend_on_the_cache(tiny_v2, warm):
    _, cached, _ = make_dpt_from_state_dict(tiny_v2)
    _, uncached, _ = make_dpt_from_state_dict(tiny_v2, enable_cache=False)
    if warm:
        cached.inference(IMAGES)
    expected = gradients(uncached)
    for key, gradient in gradients(cached).items():
        assert torch.equal(gradient, expected[key]), key


def test_gradients_do_not_depend_on_the_attention(tiny_v2):
    _, fused, _ = make_dpt_from_state_dict(tiny_v2)
    _, plain, _ = make_dpt_from_state_dict(tiny_v2, enable_optimizations=False)
    expected = gradients(plain)
    for key, gradient in gradients(fused).items():
        assert (gradient - expected[key]).abs().max() <= 1e-3 * expected[key].abs().max(), key


@pytest.mark.parametrize(
    "key, index",
    [
        ("patch_embed.projection.weight", (3, 1, 4, 9)),
        ("imgencoder.class_token", (0, 0, 5)),
        ("imgencoder.position_table", (0, 1 + 4 * 37 + 3, 5)),  # row 4, column 3: near the first patch of a 4 x 5 grid
        ("imgencoder.blocks.2.attention.qkv.weight", (200, 7)),
        ("reassemble.stages.0.resize.weight", (3, 2, 1, 1)),
        ("fusion.blocks.3.refine.conv_1.weight", (3, 2, 1, 1)),
        ("head.conv_2.bias", (3,)),
    ],
)
def test_gradients_are_slopes(small_file, key, index):
    """Against the difference quotient, in double precision."""
    _, model, _ = make_dpt_from_state_dict(small_file)
    model.double()
    images = IMAGES.double()
    weight = dict(model.named_parameters())[key]
    slope = gradients(model, images)[key][index]
    step = 1e-5
    losses = []
    with torch.no_grad():
        for sign in (1, -1):
            weight[index] += sign * step
            losses.append(model(images).sin().sum())
            weight[index] -= sign * step
    assert abs((losses[0] - losses[1]) / (2 * step) - slope) <= 1e-4 * abs(slope) + 1e-7


@pytest.mark.parametrize("name", ["tiny_depth_anything_v2", "tiny_depth_anything_v2_metric_vkitti"])
def test_a_few_steps_lower_the_loss(weight_file, name):
    """Towards the same map turned upside down, as a fine-tuning would: from released weights, with a small rate."""
    _, model, _ = make_dpt_from_state_dict(weight_file(name))
    image = read_golden(name, "112x112").image[:, :, :56, :56]
    target = model.inference(image).flip(1)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = (model(image) - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses[-3:]) < 0.8 * losses[0]


def test_training_in_mixed_precision(tiny_v2):
    _, model, _ = make_dpt_from_state_dict(tiny_v2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(model)
    exact = gradients(make_dpt_from_state_dict(tiny_v2)[1])
    assert all(gradient.dtype == torch.float32 and torch.isfinite(gradient).all() for gradient in found.values())
    for key in ("head.conv_1.weight", "fusion.blocks.0.project.weight"):
        cosine = torch.nn.functional.cosine_similarity(found[key].flatten(), exact[key].flatten(), dim=0)
        assert cosine > 0.9
