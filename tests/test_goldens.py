"""The same numbers as the original implementations, from the same weights and the same input."""

from pathlib import Path

import pytest
import torch

from lib.checkpoints.files import Checkpoint
from lib.make_dpt import describe, load_weights, make_dpt_from_state_dict, recognise_layout
from tests.conftest import SAME, golden_cases, read_golden
from tests.reference import synthetic_checkpoint

CASES = golden_cases("tiny_depth_anything")
MIDAS = golden_cases("tiny_dpt")


def test_every_depth_anything_golden_is_here():
    assert len(CASES) == 9 and ("tiny_depth_anything_v2", "518x518") in CASES  # 37 x 37 patches: an odd grid


def test_every_midas_golden_is_here():
    assert {name for name, _ in MIDAS} == {
        "tiny_dpt_vit_128",
        "tiny_dpt_beit_128",
        "tiny_dpt_swin2_128",
        "tiny_dpt_swin2_384_from192",  # window 24, first trained with 12: log-spaced coordinates on another scale
    }


@pytest.mark.parametrize("enable_cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("enable_optimizations", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("name, size", CASES + MIDAS)
def test_same_numbers_as_the_original(weight_file, name, size, enable_cache, enable_optimizations):
    _, model, _ = make_dpt_from_state_dict(weight_file(name), enable_cache, enable_optimizations)
    golden = read_golden(name, size)
    first = model.inference(golden.image)
    second = model.inference(golden.image)  # served from the cache, where there is one
    assert golden.error(first[0]) <= SAME
    assert torch.equal(first, second)


@pytest.mark.parametrize("name, size", CASES + MIDAS)
def test_each_picture_of_a_batch_is_predicted_as_if_alone(weight_file, name, size):
    _, model, _ = make_dpt_from_state_dict(weight_file(name))
    golden = read_golden(name, size)
    other = golden.image.flip(-1)
    batch = model.inference(torch.cat([other, golden.image]))
    assert golden.error(batch[1]) <= SAME
    assert (batch[0] - model.inference(other)[0]).abs().max() <= SAME * golden.std


@pytest.mark.parametrize("name, size", [case for case in CASES if "metric" not in case[0]])
def test_v1_and_v2_weights_are_told_apart_by_their_taps_alone(weight_file, name, size):
    """The same file read as the other version runs, and gives other numbers: why the type must not be guessed."""
    other_type = "depth-anything-v2" if name.endswith("_v1") else "depth-anything-v1"
    _, model, _ = make_dpt_from_state_dict(weight_file(name), model_type=other_type)
    golden = read_golden(name, size)
    assert golden.error(model.inference(golden.image)[0]) > 0.1


def synthetic_model(name: str) -> torch.nn.Module:
    """As from NAME.pth, but without writing a file."""
    checkpoint = Checkpoint(path=Path(f"{name}.pth"), tensors=synthetic_checkpoint.build(name))
    layout = recognise_layout(checkpoint)
    config, _ = describe(checkpoint, layout, None)
    return load_weights(config, checkpoint.tensors, layout.keys, source=name).eval()


def mean_error_in(dtype: torch.dtype, model: torch.nn.Module, image: torch.Tensor) -> float:
    """How far the model in another precision is from itself in float32: mean difference in standard deviations."""
    exact = model.inference(image)
    rounded = model.to(dtype).inference(image)
    assert rounded.dtype == dtype
    return float((rounded.float() - exact).abs().mean() / exact.std())


@pytest.mark.parametrize(
    "name, limit",
    [("depth_anything_v2_vits", 0.03), ("depth_anything_v2_vitb", 0.03), ("depth_anything_v2_vitl", 0.06)],
)
def test_bfloat16_stays_near_float32(name, limit):
    assert mean_error_in(torch.bfloat16, synthetic_model(name), read_image(name)) <= limit


@pytest.mark.parametrize("name", ["depth_anything_v2_vits", "depth_anything_v1_vits"])
def test_float16_stays_near_float32(name):
    assert mean_error_in(torch.float16, synthetic_model(name), read_image(name)) <= 0.01


def read_image(name: str) -> torch.Tensor:
    return synthetic_checkpoint.model_input(name, 140, 182)
