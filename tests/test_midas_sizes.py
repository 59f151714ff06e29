"""Pictures of other sizes than the training's: what each encoder takes, and how smoothly Swin's results follow the size."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.checkpoints.sizes import decoder_sizes
from lib.dpt_model import DPTModel, build_dpt
from lib.encoders import swin
from lib.errors import PictureError
from lib.image_processor import DPTImageProcessor
from lib.model_types import MODEL_TYPES
from lib.predict import predict_depth
from tests import midas
from tests.conftest import make_picture
from tests.reference import synthetic_checkpoint


@cache
def model_of(family: str) -> DPTModel:
    return midas.small_model(family)


# What each encoder takes


@pytest.mark.parametrize("size", [(16, 16), (16, 144), (80, 48), (112, 112), (160, 96)], ids=str)
@pytest.mark.parametrize("family", ["vit", "beit", "hybrid"])
def test_any_multiple_of_the_patch_in_both_directions(family, size):
    depth = model_of(family).inference(midas.images(*size, batch=2))
    assert depth.shape == (2, *size) and torch.isfinite(depth).all() and (depth.std() > 0 or size == (16, 16))


@pytest.mark.parametrize(
    "family, size, told",
    [
        ("vit", (120, 128), "120 x 128, but both sides must be multiples of 16"),
        ("beit", (128, 100), "128 x 100, but both sides must be multiples of 16"),
        ("hybrid", (128, 8), "128 x 8, but both sides must be multiples of 16"),
        ("hybrid", (0, 16), "0 x 16, but both sides must be multiples of 16"),
        ("swin2", (130, 128), "130 x 128, but both sides must be multiples of 4"),
        ("swin2", (128, 144), "32 x 36, but both sides must be multiples of 8"),  # tokens
        ("swin", (112, 128), "28 x 32, but both sides must be multiples of 8"),
        ("levit", (128, 160), "128 x 160, but LeViT can only do 128 x 128"),
        ("levit", (256, 256), "256 x 256, but LeViT can only do 128 x 128"),
    ],
)
def test_other_sizes_are_refused_in_one_clear_sentence(family, size, told):
    with pytest.raises(ValueError, match=told):
        model_of(family).inference(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("family", midas.FAMILIES)
@pytest.mark.parametrize("shape", [(3, 128, 128), (1, 4, 128, 128), (128, 128)], ids=str)
def test_other_shapes_are_refused_in_one_clear_sentence(family, shape):
    with pytest.raises(ValueError, match="expected picture tensors of shape B x 3 x H x W"):
        model_of(family).inference(torch.zeros(shape))


def narrow_swin(*, is_v2: bool, windows_per_side: list[int]) -> DPTModel:
    """A Swin of few features, so that many sizes take little time; trained, as it were, with 128 x 128 pixels."""
    windows = [32 // 2**stage // count for stage, count in enumerate(windows_per_side)]
    widths = [8, 16, 32, 64]
    encoder = {
        "features": 8,
        "depths": [2, 2, 1, 1],
        "heads": [1] * 4,
        "windows": windows,
        "windows_per_side": windows_per_side,
    }
    config = {
        "encoder": "swin",
        "patch_embed": {"features": 8, "patch_size": 4, "norm": True},
        "imgencoder": encoder | {"coordinate_windows": windows if is_v2 else None},
        "output": midas.OUTPUT,
    }
    config |= decoder_sizes(
        stage_features=widths,
        stage_channels=widths,
        readouts=[None] * 4,
        scales=[1] * 4,
        fusion_features=4,
        head_channels=[4, 4],
    )
    return midas.seed_weights(build_dpt(config)).eval()


@pytest.mark.parametrize(
    "is_v2, windows_per_side, step",
    [(True, [4, 2, 1, 1], 32), (False, [8, 4, 2, 1], 96)],  # as in the releases of SwinV2 and of Swin
    ids=["SwinV2", "Swin"],
)
def test_swin_takes_every_multiple_of_32_in_both_directions(is_v2, windows_per_side, step):
    """SwinV2: all up to 512 x 512. Swin, whose code for sizes is the same: every third one, and the smallest."""
    model = narrow_swin(is_v2=is_v2, windows_per_side=windows_per_side)
    picture = midas.images(512, 512)
    sides = sorted({*range(32, 513, step), 64, 96, 512})
    for height in sides:
        for width in sides:
            depth = model.inference(picture[:, :, :height, :width])
            assert depth.shape == (1, height, width) and torch.isfinite(depth).all()


# Swin at other sizes: the same picture, larger or smaller, gives nearly the same map


def smooth_pictures(count: int, seed: int) -> torch.Tensor:
    noise = torch.from_numpy(synthetic_checkpoint.seeded_normal("smooth", seed, (count, 3, 6, 6)))
    return F.interpolate(noise, size=(128, 128), mode="bicubic")


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(maps, size=size, mode="bicubic")


def correlation(ours: torch.Tensor, other: torch.Tensor) -> float:
    """Mean over the pictures."""
    ours, other = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (ours, other))
    return float(F.cosine_similarity(ours, other).mean())


def brightness_and_height(pictures: torch.Tensor) -> torch.Tensor:
    """A depth that a network can learn in seconds: brighter is nearer, lower is nearer."""
    ramp = torch.linspace(0, 2, pictures.shape[-2])[None, :, None]
    return 4 + pictures.mean(1) + ramp


@cache
def trained_model(family: str) -> DPTModel:
    """Sixty steps from PyTorch's own initial weights."""
    torch.manual_seed(0)
    encoder = {"depths": [2] * 4, "heads": [1, 2, 4, 8], "windows": [8, 8, 8, 4], "windows_per_side": [4, 2, 1, 1]}
    encoder |= {"features": 16, "coordinate_windows": encoder["windows"] if family == "swin2" else None}
    widths = [16, 32, 64, 128]
    decoder = decoder_sizes(
        stage_features=widths,
        stage_channels=widths,
        readouts=[None] * 4,
        scales=[1] * 4,
        fusion_features=32,
        head_channels=[16, 8],
    )
    patches = {"features": 16, "patch_size": 4, "norm": True}
    model = build_dpt({"encoder": "swin", "patch_embed": patches, "imgencoder": encoder, "output": midas.OUTPUT} | decoder)
    midas.calibrate(model.head.conv_3, lambda: model(smooth_pictures(4, seed=100)), std=0.3)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3, weight_decay=0)
    for step in range(60):
        pictures = smooth_pictures(2, seed=step)
        loss = (model(pictures) - brightness_and_height(pictures)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / 60)
    return model.eval()


@pytest.mark.parametrize("size", [(160, 160), (96, 96), (96, 128), (128, 160)], ids=str)
@pytest.mark.parametrize("family", ["swin2", "swin"])
def test_a_trained_model_gives_nearly_the_same_map_at_another_size(family, size):
    model = trained_model(family)
    pictures = smooth_pictures(8, seed=1000)
    native = model.inference(pictures)
    assert correlation(native, brightness_and_height(pictures)) > 0.9  # it has learned something to get wrong
    other = model.inference(resized(pictures, size))
    assert correlation(resized(native[:, None], size)[:, 0], other) > 0.97


@torch.no_grad()
def prefer_one_offset(model: DPTModel) -> DPTModel:
    """Every head looks at the tokens near one place relative to its own, as heads of trained networks do.

    In SwinV2 four units of the bias network for each head give -|dy - y| - |dx - x| on the logarithmic scale.
    """
    for number, attention in enumerate(module for module in model.modules() if isinstance(module, swin.WindowAttention)):
        places = torch.from_numpy(synthetic_checkpoint.seeded_normal(f"places {number}", 0, (attention.heads, 2))).tanh()
        if not attention.is_cosine:
            axis = torch.linspace(-1, 1, 2 * attention.bias.window_hw[0] - 1)
            for head, (y, x) in enumerate(places.tolist()):
                distance = (axis - y).abs()[:, None] + (axis - x).abs()[None, :]
                attention.bias.table[:, head] = 16 * torch.sigmoid(4 - 8 * distance).flatten()
            continue
        attention.logit_scale.zero_()
        expand, contract = attention.bias.expand, attention.bias.contract
        for weights in (expand.weight, expand.bias, contract.weight):
            weights.zero_()
        expand.bias[0], contract.weight[:, 0] = 1.0, 4.0
        for head, place in enumerate(places.tolist()):
            for unit, (axis, sign) in enumerate([(0, 1), (0, -1), (1, 1), (1, -1)], start=1 + 4 * head):
                expand.weight[unit, axis], expand.bias[unit] = sign, -sign * place[axis]
                contract.weight[head, unit] = -8.0
    return model


def stage_correlations(model: DPTModel, size: tuple[int, int]) -> list[float]:
    pictures = smooth_pictures(4, seed=1000)
    with torch.no_grad():
        native = model.imgencoder(*model.patch_embed(pictures))
        other = model.imgencoder(*model.patch_embed(resized(pictures, size)))
    return [correlation(resized(a, b.shape[-2:]), b) for a, b in zip(native, other, strict=True)]


@pytest.mark.parametrize("side", [160, 192, 256])
def test_stretching_the_offsets_keeps_the_stages_of_swin_v2_alike(monkeypatch, side):
    """Without the stretch a head that looks half a window away would look at another part of the picture."""
    model = prefer_one_offset(midas.small_model("swin2"))
    stretched = stage_correlations(model, (side, side))
    original = swin.log_offsets
    monkeypatch.setattr(
        swin, "log_offsets", lambda window_hw, **options: original(window_hw, **options | {"window": window_hw[0]})
    )
    model.set_cache(False)
    unstretched = stage_correlations(model, (side, side))
    assert min(stretched) > 0.85
    assert all(ours > without for ours, without in zip(stretched, unstretched, strict=True))
    assert max(ours - without for ours, without in zip(stretched, unstretched, strict=True)) > 0.02


@pytest.mark.parametrize("side", [160, 192, 256])
def test_resizing_the_table_keeps_the_stages_of_swin_alike(monkeypatch, side):
    """Against a table whose entries keep their offsets in tokens, the outermost repeated where the window is larger."""
    model = prefer_one_offset(midas.small_model("swin"))

    def keep_offsets(table, old_hw, new_hw):
        picture = table.unflatten(0, [2 * old - 1 for old in old_hw])
        rows, columns = (
            (torch.arange(1 - new, new) + old - 1).clamp(0, 2 * old - 2) for old, new in zip(old_hw, new_hw, strict=True)
        )
        return picture[rows][:, columns].flatten(0, 1)

    resized_table = stage_correlations(model, (side, side))
    monkeypatch.setattr(swin, "resize_offset_table", keep_offsets)
    model.set_cache(False)
    kept = stage_correlations(model, (side, side))
    assert min(resized_table) > 0.7 and sum(resized_table) > sum(kept) + 0.05


def test_a_stretched_window_asks_for_the_offsets_of_the_training():
    """Twice as dense a window: every second offset is one of the training's, and has exactly the same bias."""
    dense = swin.log_offsets((7, 13), window=7, coordinate_window=7).unflatten(0, (13, 25))
    native = swin.log_offsets((7, 7), window=7, coordinate_window=7).unflatten(0, (13, 13))
    assert torch.equal(dense[:, ::2], native)
    assert dense[0, 0].tolist() == native[0, 0].tolist() and dense[-1, -1].tolist() == native[-1, -1].tolist()


def test_windows_are_cut_and_joined_again():
    grid = torch.arange(2 * 6 * 10 * 3.0).reshape(2, 6, 10, 3)
    windows = swin.split_windows(grid, (2, 5))
    assert windows.shape == (2, 10, 6, 3)
    assert torch.equal(windows[1, 7], grid[1, 3:6, 4:6].reshape(6, 3))  # second row of windows, third of its five
    assert torch.equal(swin.join_windows(windows, (2, 5), (6, 10)), grid)


# From picture to map

SIDES = {"vit": 128, "beit": 128, "swin2": 128, "swin": 128, "hybrid": 128, "levit": 128}
PICTURES = [(97, 211), (300, 200), (33, 57), (128, 128)]


def processor_of(family: str) -> DPTImageProcessor:
    """The rule of the family's release, with the small model's picture size."""
    rule = MODEL_TYPES[f"midas-{family}"].picture
    return DPTImageProcessor(type(rule)(**{**vars(rule), "side": SIDES[family]}))


@pytest.mark.parametrize("size", PICTURES, ids=str)
@pytest.mark.parametrize("family", midas.FAMILIES)
def test_every_picture_gets_a_map_of_its_own_size(family, size):
    result = predict_depth(model_of(family), processor_of(family), make_picture(*size))
    assert result.depth.shape == size and result.depth.dtype == np.float32 and np.isfinite(result.depth).all()
    assert result.quantity == "inverse depth" and result.nearest_is_largest


@pytest.mark.parametrize(
    "sizing",
    [{"max_side_length": 96}, {"use_square_sizing": True}, {"max_side_length": 64, "use_square_sizing": True}],
    ids=str,
)
@pytest.mark.parametrize("family", [family for family in midas.FAMILIES if family != "levit"])
def test_the_processing_size_may_be_chosen(family, sizing):
    depth = predict_depth(model_of(family), processor_of(family), make_picture(97, 211), **sizing).depth
    assert depth.shape == (97, 211) and np.isfinite(depth).all()


def test_levit_has_one_size():
    processor = processor_of("levit")
    sizings = [{}, {"use_square_sizing": True}, {"max_side_length": 128}]
    assert {processor.network_size(97, 211, **sizing) for sizing in sizings} == {(128, 128)}
    with pytest.raises(PictureError, match="can only process 128 x 128 pixels, not 392: leave the processing size out"):
        predict_depth(model_of("levit"), processor, make_picture(), max_side_length=392)
    with pytest.raises(PictureError, match="can only process 128 x 128 pixels, not 64"):
        processor.prepare_image_bgr(make_picture(), 64, use_square_sizing=True)


def test_levit_runs_no_layer_behind_its_last_tap():
    """The release carries six of them."""
    model, ran = midas.small_model("levit"), []
    for number, layer in enumerate(model.imgencoder.layers):
        layer.register_forward_hook(lambda module, inputs, output, number=number: ran.append(number))
    model.inference(midas.images(128, 128))
    assert ran == list(range(1 + max(model.imgencoder.taps))) and len(ran) < len(model.imgencoder.layers)


@pytest.mark.parametrize("size, expected", [((480, 640), (384, 512)), ((1080, 1920), (384, 672)), ((375, 1242), (384, 1280))])
@pytest.mark.parametrize("family", ["vit", "hybrid", "beit"])
def test_the_aspect_ratio_is_kept_as_in_the_release(family, size, expected):
    assert DPTImageProcessor(MODEL_TYPES[f"midas-{family}"].picture).network_size(*size) == expected
