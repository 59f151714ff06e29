"""The releases' own preparation of pictures, and their way back to the picture's size."""

import math

import cv2
import numpy as np
import pytest
import torch

from lib.errors import PictureError
from lib.image_processor import IMAGENET_MEAN, IMAGENET_STD, DPTImageProcessor, PictureRule, cubic, fit_size
from lib.model_types import MODEL_TYPES
from tests.conftest import make_picture

V1, V2 = (DPTImageProcessor(MODEL_TYPES[f"depth-anything-{version}"].picture) for version in ("v1", "v2"))

RULES = {
    "BEiT-512": PictureRule(side=512, multiple=32, fit="minimal"),
    "DPT-384": PictureRule(side=384, multiple=32, fit="minimal"),
    "MiDaS 2.1": PictureRule(side=384, multiple=32, fit="upper_bound"),
    "SwinV2-256": PictureRule(side=256, multiple=32, fit="stretch"),
    "Depth-Anything": V2.rule,
    "Depth-Anything HF": PictureRule(side=518, multiple=14, fit="minimal"),
}
# (width, height) of a picture, and what each rule makes of it, worked out from the releases' sources
SIZES = {
    (640, 480): ((672, 512), (512, 384), (384, 288), (256, 256), (686, 518), (686, 518)),
    (1920, 1080): ((896, 512), (672, 384), (384, 224), (256, 256), (924, 518), (924, 518)),
    (1080, 1920): ((512, 896), (384, 672), (224, 384), (256, 256), (518, 924), (518, 924)),
    (4032, 3024): ((672, 512), (512, 384), (384, 288), (256, 256), (686, 518), (686, 518)),
    (1242, 375): ((1696, 512), (1280, 384), (384, 128), (256, 256), (1722, 518), (1722, 518)),
    (300, 200): ((512, 352), (384, 256), (384, 256), (256, 256), (784, 518), (518, 350)),
    (400, 800): ((512, 1024), (384, 768), (192, 384), (256, 256), (518, 1036), (518, 1036)),
    (2560, 1080): ((1216, 512), (896, 384), (384, 160), (256, 256), (1232, 518), (1232, 518)),
}
CASES = [
    (name, picture, network)
    for picture, networks in SIZES.items()
    for name, network in zip(RULES, networks, strict=True)
]


@pytest.mark.parametrize("name, picture, network", CASES)
def test_sizes_are_the_releases(name, picture, network):
    processor = DPTImageProcessor(RULES[name])
    assert processor.network_size(picture[1], picture[0]) == (network[1], network[0])


def test_halves_round_to_even():
    """1.5 and 2.5 multiples of 10: both become 2."""
    assert fit_size(15, 25, target_hw=(15, 25), multiple=10, fit="minimal") == (20, 20)


def test_a_tie_of_scales_follows_the_height():
    """Scales 1.5 and 0.5 are equally far from 1."""
    assert fit_size(200, 600, target_hw=(300, 300), multiple=10, fit="minimal") == (300, 900)


# Values: the release's arithmetic, written out in double precision


def cubic_weights(new: int, old: int) -> np.ndarray:
    """new x old matrix of cubic interpolation: a = -0.75, pixel centres at halves, edges repeated, no antialiasing."""
    weights = np.zeros((new, old))
    a = -0.75
    for row in range(new):
        position = (row + 0.5) * old / new - 0.5
        for tap in range(math.floor(position) - 1, math.floor(position) + 3):
            x = abs(position - tap)
            near = ((a + 2) * x - (a + 3)) * x * x + 1
            far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
            weights[row, min(max(tap, 0), old - 1)] += near if x <= 1 else far
    return weights


def release_preparation(picture_bgr: np.ndarray) -> np.ndarray:
    """Depth-Anything's run.py: RGB / 255, resize (shorter side 518, multiples of 14), normalise; 3 x H x W."""
    height, width = picture_bgr.shape[:2]
    scale = max(518 / height, 518 / width)
    nearest = [int(np.round(scale * side / 14) * 14) for side in (height, width)]
    new_height, new_width = (side if side >= 518 else 518 for side in nearest)
    across, down = cubic_weights(new_width, width), cubic_weights(new_height, height)
    resized = np.einsum("yh,hwc,xw->yxc", down, picture_bgr[..., ::-1] / 255.0, across, optimize=True)
    return ((resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [(120, 160), (480, 640), (160, 100), (700, 901), (518, 518), (37, 300)], ids=str)
@pytest.mark.parametrize("processor", [V1, V2], ids=["V1", "V2"])
def test_values_are_the_releases(processor, size):
    picture = make_picture(*size)
    ours = processor.prepare_image_bgr(picture)
    expected = release_preparation(picture)
    assert ours.dtype == torch.float32 and ours.shape == (1, *expected.shape) and ours.is_contiguous()
    assert np.abs(ours[0].numpy() - expected).max() <= 1e-5


def test_small_details_are_not_smoothed_when_shrinking():
    """The releases resize without antialiasing: a one-pixel checkerboard stays loud. HF's processor smooths it."""
    checkerboard = np.indices((1554, 1554)).sum(0).astype(np.uint8) % 2 * 255
    smooth = DPTImageProcessor(PictureRule(side=518, multiple=14, fit="minimal", resample="antialiased_cubic"))
    loud, quiet = (processor.prepare_image_bgr(checkerboard)[0, 0].std() for processor in (V2, smooth))
    assert loud > 50 * quiet


# Sizes that a person asks for


@pytest.mark.parametrize(
    "options, expected_hw",
    [
        ({"max_side_length": 518}, (294, 518)),
        ({"max_side_length": 1000}, (560, 994)),
        ({"max_side_length": 14}, (14, 14)),
        ({"max_side_length": 1}, (14, 14)),
        ({"use_square_sizing": True}, (518, 518)),
        ({"use_square_sizing": True, "max_side_length": 300}, (294, 294)),
        ({"use_square_sizing": True, "max_side_length": 310}, (308, 308)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_processing_size(options, expected_hw, turned):
    picture = make_picture(90, 160)
    if turned:
        picture, expected_hw = picture.transpose(1, 0, 2), expected_hw[::-1]
    assert V2.prepare_image_bgr(picture, **options).shape == (1, 3, *expected_hw)
    assert V2.network_size(*picture.shape[:2], **options) == expected_hw


@pytest.mark.parametrize("size", [0, -5])
def test_processing_sizes_are_positive(size):
    with pytest.raises(PictureError, match="positive"):
        V2.prepare_image_bgr(make_picture(), max_side_length=size)


@pytest.mark.parametrize("shape", [(1, 400), (3000, 3)])
def test_extreme_strips_are_refused_with_advice(shape):
    with pytest.raises(PictureError, match="max_side_length"):
        V2.prepare_image_bgr(np.zeros((*shape, 3), np.uint8))
    assert V2.prepare_image_bgr(np.zeros((*shape, 3), np.uint8), max_side_length=280).shape[-2:].count(280) == 1


# Kinds of pictures

PICTURE = make_picture(60, 80)
PREPARED = V2.prepare_image_bgr(PICTURE)


@pytest.mark.parametrize(
    "same_picture",
    [
        np.dstack([PICTURE, np.full((60, 80), 7, np.uint8)]),  # with alpha
        PICTURE.astype(np.uint16) * 257,  # 16 bits: 255 becomes 65535
        PICTURE.astype(np.float32) / 255,
        PICTURE / 255,
        np.asfortranarray(PICTURE),
        np.ascontiguousarray(PICTURE[:, ::-1])[:, ::-1],  # negative strides
        np.repeat(PICTURE, 2, axis=1)[:, ::2],
    ],
    ids=["BGRA", "uint16", "float32", "float64", "column by column", "mirrored view", "strided view"],
)
def test_the_same_picture_in_another_form(same_picture):
    assert (V2.prepare_image_bgr(same_picture) - PREPARED).abs().max() <= 2e-6


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_pictures_are_three_equal_channels(shape, dtype):
    largest = 1 if dtype == np.float32 else np.iinfo(dtype).max
    grey = (PICTURE[..., 1] / 255 * largest).astype(dtype).reshape(shape)
    expected = V2.prepare_image_bgr(np.dstack([grey] * 3))
    assert torch.equal(V2.prepare_image_bgr(grey), expected)


def test_bgr_becomes_rgb():
    red = np.zeros((518, 518, 3), np.uint8)
    red[..., 2] = 255
    channels = V2.prepare_image_bgr(red)[0].mean(dim=(1, 2)).numpy()
    expected = (np.array([1, 0, 0]) - IMAGENET_MEAN) / IMAGENET_STD
    assert np.abs(channels - expected).max() < 1e-5


def test_the_picture_itself_is_left_alone():
    picture = PICTURE.copy()
    picture.flags.writeable = False
    prepared = V2.prepare_image_bgr(picture)
    prepared.zero_()
    assert np.array_equal(picture, PICTURE)


def test_a_float_picture_of_the_networks_size_is_not_changed_through_its_tensor():
    picture = np.full((518, 518), 0.5, np.float32)
    V2.prepare_image_bgr(picture).zero_()
    assert (picture == 0.5).all()


@pytest.mark.parametrize(
    "not_a_picture, complaint",
    [
        (None, "NoneType"),
        ([[1, 2], [3, 4]], "list"),
        (torch.zeros(3, 3), "Tensor"),
        (np.zeros(5, np.uint8), r"\(5,\)"),
        (np.zeros((2, 2, 2), np.uint8), r"\(2, 2, 2\)"),
        (np.zeros((2, 2, 5), np.uint8), r"\(2, 2, 5\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"\(1, 2, 2, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((4, 4), np.int32), "int32"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), complex), "complex"),
        (np.array([["a", "b"]]), "<U1"),
        (np.full((4, 4), 1.5), "1.5"),
        (np.full((4, 4), -0.1), "-0.1"),
        (np.full((4, 4), 200.0), "200"),
        (np.full((4, 4), np.nan), "nan"),
    ],
)
def test_what_is_not_a_picture_is_said(not_a_picture, complaint):
    with pytest.raises(PictureError, match=complaint):
        V2.prepare_image_bgr(not_a_picture)


# The way back


def linear_weights(new: int, old: int, corners: bool) -> np.ndarray:
    """new x old matrix of linear interpolation: from corner to corner (V2), or with pixel centres at halves (V1)."""
    weights = np.zeros((new, old))
    for row in range(new):
        position = row * (old - 1) / max(new - 1, 1) if corners else min(max((row + 0.5) * old / new - 0.5, 0), old - 1)
        left = min(int(position), max(old - 2, 0))
        weights[row, left] += 1 - (position - left)
        weights[row, min(left + 1, old - 1)] += position - left
    return weights


@pytest.mark.parametrize("size", [(97, 211), (20, 9), (28, 42), (1, 1), (1, 50)], ids=str)
@pytest.mark.parametrize("processor, corners", [(V1, False), (V2, True)], ids=["V1", "V2"])
def test_maps_return_by_the_releases_interpolation(processor, corners, size):
    depth = torch.from_numpy(np.random.default_rng(0).normal(5, 2, (28, 42)).astype(np.float32))
    expected = linear_weights(size[0], 28, corners) @ depth.double().numpy() @ linear_weights(size[1], 42, corners).T
    scaled = processor.scale_prediction(depth, size)
    assert scaled.shape == size and np.abs(scaled.numpy() - expected).max() <= 1e-4


def test_v1_and_v2_differ_on_the_way_back():
    ramp = torch.arange(4.0).repeat(4, 1)
    assert V2.scale_prediction(ramp, (4, 7))[0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert V1.scale_prediction(ramp, (4, 8))[0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


@pytest.mark.parametrize("processor", [V1, V2, DPTImageProcessor(PictureRule(518, 14, restore="bicubic"))])
def test_a_batch_returns_map_by_map(processor):
    maps = torch.randn(3, 28, 42, dtype=torch.float64)
    batch = processor.scale_prediction(maps, (50, 40))
    assert batch.shape == (3, 50, 40) and batch.dtype == torch.float32
    assert all(torch.equal(batch[number], processor.scale_prediction(maps[number], (50, 40))) for number in range(3))
    assert torch.equal(processor.scale_prediction(maps, (28, 42)), maps.float())


@pytest.mark.parametrize("shape", [(4,), (1, 1, 4, 4)])
def test_only_maps_are_scaled(shape):
    with pytest.raises(ValueError, match="expected a map"):
        V2.scale_prediction(torch.zeros(shape), (4, 4))


# Rules


@pytest.mark.parametrize(
    "changes",
    [
        {"side": 0},
        {"multiple": 0},
        {"fit": "crop"},
        {"resample": "nearest"},
        {"restore": "nearest"},
        {"std": (1, 0, 1)},
        {"mean": (0.5,)},
    ],
    ids=str,
)
def test_rules_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="no picture can be prepared"):
        PictureRule(**({"side": 518, "multiple": 14} | changes))


SIZES = [((300, 41), (98, 14)), ((130, 247), (290, 72)), ((63, 200), (126, 70)), ((130, 7), (14, 28)), ((1, 1), (14, 14))]


@pytest.mark.parametrize("largest, dtype", [(255, np.uint8), (65535, np.uint16), (1, np.float32)])
@pytest.mark.parametrize("size, target", SIZES)
def test_the_cubic_in_bands_is_that_in_one_piece(size, target, largest, dtype):
    unit = np.random.default_rng(0).integers(0, 256, (*size, 3)) / 255
    picture = unit.astype(dtype) if largest == 1 else np.rint(unit * largest).astype(dtype)
    whole = cv2.resize(unit.astype(np.float32), target[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(cubic(picture, *target) - whole).max() < 2e-5


DEVICE_RULES = [
    *RULES.values(),
    PictureRule(side=98, multiple=14, resample="antialiased_cubic"),
    PictureRule(side=96, multiple=32, width=128, fit="minimal", resample="bilinear_corners", reflect_padding=True),
    PictureRule(side=98, multiple=14, fit="pad"),
]


@pytest.mark.parametrize("rule", DEVICE_RULES, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_prepared_on_a_device_are_the_same(rule, dtype):
    processor, picture = DPTImageProcessor(rule), make_picture(90, 130).astype(dtype) * (257 if dtype == np.uint16 else 1)
    for sizing in ((None, False), (64, False), (96, True)):
        if rule.fit == "fixed" and sizing[0] is not None:
            continue
        there = processor.prepare_on_device(picture, torch.device("cpu"), *sizing)
        assert torch.allclose(there, processor.prepare_image_bgr(picture, *sizing), atol=2e-4)
