"""predict_depth: picture in, declared depth map out."""

import dataclasses

import numpy as np
import pytest
import torch

from lib.errors import PictureError
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import DepthMap, predict_depth, predict_depth_batch
from tests.conftest import make_picture

SMALL = {"max_side_length": 84}  # small network inputs, for speed


@pytest.fixture(scope="module")
def model_and_processor(small_file):
    return make_dpt_from_state_dict(small_file)[1:]


@pytest.mark.parametrize(
    "model_type, quantity, nearest_is_largest, value_range",
    [
        ("depth-anything-v1", "inverse depth", True, (0, float("inf"))),
        ("depth-anything-v2", "inverse depth", True, (0, float("inf"))),
        ("depth-anything-v2-metric-hypersim", "metres", False, (0, 20)),
        ("depth-anything-v2-metric-vkitti", "metres", False, (0, 80)),
    ],
)
def test_the_map_says_what_it_is(small_file, model_type, quantity, nearest_is_largest, value_range):
    _, model, imgproc = make_dpt_from_state_dict(small_file, model_type=model_type)
    result = predict_depth(model, imgproc, make_picture(45, 70), **SMALL)
    assert (result.quantity, result.nearest_is_largest) == (quantity, nearest_is_largest)
    assert result.value_range == value_range
    assert result.depth.shape == (45, 70) and result.depth.dtype == np.float32 and result.depth.flags.c_contiguous
    assert value_range[0] <= result.depth.min() and result.depth.max() <= value_range[1] and result.depth.std() > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.quantity = "feet"


def test_it_is_the_three_steps(model_and_processor):
    """prepare, infer, scale back: at the release's own size."""
    model, imgproc = model_and_processor
    picture = make_picture(100, 150)
    inverse_depth = model.inference(imgproc.prepare_image_bgr(picture))
    expected = imgproc.scale_prediction(inverse_depth, (100, 150))[0]
    assert inverse_depth.shape == (1, 518, 784)
    assert np.array_equal(predict_depth(model, imgproc, picture).depth, expected.numpy())


def test_a_batch_is_each_picture_alone(model_and_processor):
    """Pictures of different sizes may share a batch, as long as the network sees one size."""
    pictures = [make_picture(60, 80, seed=1), make_picture(120, 160, seed=2), make_picture(60, 80, seed=3)[..., 0]]
    together = predict_depth_batch(*model_and_processor, pictures, **SMALL)
    assert [result.depth.shape for result in together] == [(60, 80), (120, 160), (60, 80)]
    for result, picture in zip(together, pictures, strict=True):
        alone = predict_depth(*model_and_processor, picture, **SMALL)
        assert np.abs(result.depth - alone.depth).max() <= 1e-4 * alone.depth.std()
        assert dataclasses.replace(result, depth=None) == dataclasses.replace(alone, depth=None)


def test_a_batch_needs_one_network_size(model_and_processor):
    with pytest.raises(ValueError, match=r"\(56, 84\).*\(84, 56\)|one network size"):
        predict_depth_batch(*model_and_processor, [make_picture(60, 80), make_picture(80, 60)], **SMALL)
    squares = {"use_square_sizing": True, **SMALL}
    assert len(predict_depth_batch(*model_and_processor, [make_picture(60, 80), make_picture(80, 60)], **squares)) == 2


def test_no_pictures_give_no_maps(model_and_processor):
    assert predict_depth_batch(*model_and_processor, []) == []


def test_what_is_not_a_picture_is_said(model_and_processor):
    with pytest.raises(PictureError, match="NoneType"):  # what cv2.imread returns for a file that it cannot read
        predict_depth(*model_and_processor, None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_models_of_any_precision_give_float32_maps(small_file, dtype):
    _, model, imgproc = make_dpt_from_state_dict(small_file)
    picture = make_picture(60, 80)
    exact = predict_depth(model, imgproc, picture, **SMALL)
    rounded = predict_depth(model.to(dtype), imgproc, picture, **SMALL)
    assert isinstance(rounded, DepthMap) and rounded.depth.dtype == np.float32
    assert np.abs(rounded.depth - exact.depth).mean() <= 0.05 * exact.depth.std()


def test_nothing_is_recorded_for_gradients(model_and_processor):
    model, imgproc = model_and_processor
    assert not model.inference(imgproc.prepare_image_bgr(make_picture(), **SMALL)).requires_grad


@pytest.mark.parametrize(
    "shape, complaint",
    [
        ((1, 3, 28, 30), "multiples of 14"),
        ((1, 3, 0, 28), "multiples of 14"),
        ((3, 28, 28), "B x 3"),
        ((1, 4, 28, 28), "B x 3"),
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_are_explained(model_and_processor, shape, complaint):
    with pytest.raises(ValueError, match=complaint):
        model_and_processor[0].inference(torch.zeros(shape))
