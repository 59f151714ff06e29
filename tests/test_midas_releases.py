"""Every published MiDaS file: recognised by its keys and shapes alone, converted totally, described as the release runs it."""

import re

import pytest
import torch

from lib.dpt_model import DPTModel
from lib.errors import CheckpointError
from lib.make_dpt import describe, load_weights, make_dpt_from_state_dict, recognise_layout, summary
from lib.releases import RELEASES
from tests import midas
from tests.reference import synthetic_checkpoint

MIDAS = {row.file_name.removesuffix(".pt"): row for row in RELEASES.values() if row.model_type.startswith("midas")}
TINY = ["tiny_dpt_vit_128", "tiny_dpt_beit_128", "tiny_dpt_swin2_128"]
FOUR_MAPS = [None] * 4
PROJECT = ["project"] * 4
LARGE, BASE = [5, 11, 17, 23], [2, 5, 8, 11]
WINDOWS_24, WINDOWS_16 = [24, 24, 24, 12], [16, 16, 16, 8]


def one_row(taps: list[int], heads: int, side: int) -> dict:
    return {"taps": taps, "heads": heads, "table_side": side}


def pyramid(depth: int, heads: int, windows: list[int], coordinates: list[int] | None) -> dict:
    heads_of_stages = [heads, 2 * heads, 4 * heads, 8 * heads]
    return {"depths": [2, 2, depth, 2], "heads": heads_of_stages, "windows": windows, "coordinate_windows": coordinates}


EXPECTED = {  # encoder, numbers that its modules get, readouts, side of the pictures, how they are fitted to it
    "dpt_large_384": ("vit", one_row(LARGE, 16, 24), PROJECT, 384, "minimal"),
    "dpt_hybrid_384": ("hybrid", one_row([8, 11], 12, 24), [None, None, "project", "project"], 384, "minimal"),
    "dpt_beit_large_512": ("beit", one_row(LARGE, 16, 32), PROJECT, 512, "minimal"),
    "dpt_beit_large_384": ("beit", one_row(LARGE, 16, 24), PROJECT, 384, "minimal"),
    "dpt_beit_base_384": ("beit", one_row(BASE, 12, 24), PROJECT, 384, "minimal"),
    "dpt_swin2_large_384": ("swin", pyramid(18, 6, WINDOWS_24, [12, 12, 12, 6]), FOUR_MAPS, 384, "stretch"),
    "dpt_swin2_base_384": ("swin", pyramid(18, 4, WINDOWS_24, [12, 12, 12, 6]), FOUR_MAPS, 384, "stretch"),
    "dpt_swin2_tiny_256": ("swin", pyramid(6, 3, WINDOWS_16, WINDOWS_16), FOUR_MAPS, 256, "stretch"),
    "dpt_swin_large_384": ("swin", pyramid(18, 6, [12] * 4, None), FOUR_MAPS, 384, "stretch"),
    "dpt_levit_224": ("levit", {"taps": [3, 11, 21], "heads": [6, 9, 12], "side": 14}, [None] * 3, 224, "fixed"),
}


def described(name: str, file_name: str, model_type: str | None = None) -> tuple[dict, str]:
    checkpoint = midas.as_checkpoint(midas.shapes_of(name), file_name)
    return describe(checkpoint, recognise_layout(checkpoint), model_type)


def test_the_table_has_every_manifest():
    manifests = {path.stem for path in (synthetic_checkpoint.HERE / "manifests").glob("dpt_*.json")}
    assert set(MIDAS) == set(EXPECTED) == manifests


@pytest.mark.parametrize("name", MIDAS)
def test_a_file_of_any_name_is_recognised_as_its_release(name):
    config, reason = described(name, "renamed.pt")
    row = MIDAS[name]
    assert config["release"] == row.name and config["model_type"] == row.model_type
    assert reason == "keys and shapes say so"
    assert config["output"] == {"quantity": "inverse depth", "nearest_is_largest": True, "value_range": [0.0, None]}
    assert f"{row.blocks} blocks of {row.features} features, predicts inverse depth" in summary(config)


@pytest.mark.parametrize("name", MIDAS)
def test_what_its_keys_and_shapes_tell(name):
    encoder, numbers, readouts, side, fit = EXPECTED[name]
    config, _ = described(name, "renamed.pt")
    assert config["encoder"] == encoder
    found = config["imgencoder"].get("vit", config["imgencoder"])
    assert {key: found[key] for key in numbers} == numbers
    assert config["reassemble"]["readouts"] == readouts
    assert config["picture"] == {
        "side": side,
        "multiple": 32,
        "fit": fit,
        "resample": "cv2_cubic",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "restore": "bicubic",
        "width": None,
        "reflect_padding": False,
        "flip_average": False,
    }


@pytest.mark.parametrize("name", MIDAS)
def test_size_licence_and_address(name):
    row = MIDAS[name]
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in midas.shapes_of(name).values())
    assert abs(row.megabytes - num_bytes / 1e6) <= 1
    assert row.licence == "MIT" and not row.is_non_commercial
    version = "v3" if name in ("dpt_large_384", "dpt_hybrid_384") else "v3_1"
    assert row.url == f"https://github.com/isl-org/MiDaS/releases/download/{version}/{name}.pt"


# Conversion is total


def targets_of(name: str) -> tuple[dict[str, list[str]], DPTModel]:
    """For every key of a manifest, our keys that it becomes; and the model that the manifest describes."""
    tensors = midas.shapes_of(name)
    keys = recognise_layout(midas.as_checkpoint(tensors, name)).keys
    targets = {key: [target for target, _ in keys.convert(key, tensor)] for key, tensor in tensors.items()}
    return targets, midas.load(tensors, name)[1]


UNUSED = re.compile(
    r"""pretrained\.model\.(
        (norm|fc_norm|head)\.(weight|bias)
        | head(_dist)?\.(l|bn)\.\w+
        | layers\.\d\.blocks\.\d+\.(attn_mask|attn\.relative_position_index)
        | blocks\.\d+\.attn\.relative_position_index
    )
    | scratch\.refinenet[34]\.resConfUnit1\.conv[12]\.(weight|bias)""",
    re.VERBOSE,
)


@pytest.mark.parametrize("name", [*MIDAS, *TINY])
def test_every_key_is_used_or_listed_as_unused(name):
    targets, model = targets_of(name)
    unused = [key for key, ours in targets.items() if not ours]
    assert all(UNUSED.fullmatch(key) for key in unused)
    coarsest = 3 if "levit" in name else 4
    assert (
        sum(f"refinenet{coarsest}.resConfUnit1" in key for key in unused) == sum("resConfUnit1" in key for key in unused) == 4
    )
    joined = {re.sub(r"\.~\d", "", target) for ours in targets.values() for target in ours}
    expected = set(model.state_dict())
    if "beit" in name or "swin2" in name:  # one bias for queries, keys and values, made of two
        assert sum(len(ours) == 2 for ours in targets.values()) == sum(key.endswith("qkv.bias") for key in expected)
    assert joined == expected


@pytest.mark.parametrize("name", MIDAS)
def test_the_model_has_as_many_weights_as_the_file_uses(name):
    """Biases of the keys come on top, which BEiT and SwinV2 do not have."""
    targets, model = targets_of(name)
    tensors = midas.shapes_of(name)
    used = sum(tensors[key].numel() * len(ours) for key, ours in targets.items())
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == used


def sampled(name: str) -> list[str]:
    """One used key of each kind of layer, at changing depths and with changing last words: weight, bias, running_mean ..."""
    kinds = {}
    for key, ours in targets_of(name)[0].items():
        if ours:
            kinds.setdefault(re.sub(r"\d+", "*", key.rpartition(".")[0]), []).append(key)
    return [keys[7 * number % len(keys)] for number, keys in enumerate(kinds.values())]


NAMES = [*TINY, "dpt_hybrid_384", "dpt_swin_large_384", "dpt_levit_224"]  # one of each layout
USED = [(name, key) for name in NAMES for key in sampled(name)]


def complaint_about(name: str, tensors: dict[str, torch.Tensor]) -> str:
    with pytest.raises(CheckpointError) as caught:
        midas.load(tensors, f"{name}.pt")
    message = str(caught.value)
    assert message.startswith(f"{name}.pt: ") and message.isprintable()
    return message


@pytest.mark.parametrize("name, key", USED)
def test_a_missing_key_is_named(name, key):
    tensors = midas.shapes_of(name)
    del tensors[key]
    assert re.search(rf"missing (key )?{re.escape(key)}(,|;|$)", complaint_about(name, tensors))


@pytest.mark.parametrize("name, key", [pair for pair in USED if pair[0] not in ("dpt_hybrid_384", "dpt_swin_large_384")])
def test_a_changed_shape_is_named(name, key):
    """One more in the last dimension. Where sizes are read from it, the complaint is about what no longer fits it."""
    tensors = midas.shapes_of(name)
    shape = list(tensors[key].shape)
    if not shape:
        return  # a counter
    tensors[key] = torch.empty([*shape[:-1], shape[-1] + 1], dtype=tensors[key].dtype, device="meta")
    message = complaint_about(name, tensors)
    decides_sizes = re.search(
        r"patch_embed\.proj\.weight|cls_token|pos_embed|bias_table|attention_biases|layer\d_rn|stem_transpose|logit_scale", key
    )
    assert key in message or decides_sizes


@pytest.mark.parametrize("name", NAMES)
def test_what_is_unused_need_not_be_there(name):
    """But for the mask of the first shifted window, from which Swin's window and picture size are read."""
    tensors = midas.shapes_of(name)
    complete, _ = midas.load(tensors, name)
    for key in [key for key, ours in targets_of(name)[0].items() if not ours]:
        if key != "pretrained.model.layers.0.blocks.1.attn_mask":
            del tensors[key]
    assert midas.load(tensors, name)[0] == complete


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "key",
    [
        "pretrained.model.blocks.0.attn.q_norm.weight",
        "pretrained.model.norm_pre.weight",
        "pretrained.model.layer_norm.weight",
        "scratch.refinenet5.out_conv.weight",
        "scratch.output_conv.6.weight",
        "pretrained.act_postprocess5.3.weight",
        "imgencoder.blocks.0.norm_1.weight",  # our own name
        "auxlayer.0.weight",
    ],
)
def test_an_unknown_key_is_named(name, key):
    assert f"unexpected key {key}" in complaint_about(name, midas.shapes_of(name) | {key: torch.empty(3, device="meta")})


# What the argument model_type may say


@pytest.mark.parametrize(
    "model_type, coordinates",
    [
        (None, [12, 12, 12, 6]),
        ("midas-swin2-12to24", [12, 12, 12, 6]),
        ("dpt-swin2-base-384", [12, 12, 12, 6]),
        ("midas-swin2", WINDOWS_24),
    ],
)
def test_the_argument_tells_the_windows_of_the_pre_training(model_type, coordinates):
    config, reason = described("dpt_swin2_large_384", "x.pt", model_type)
    assert config["imgencoder"]["coordinate_windows"] == coordinates
    assert config["release"] == (None if model_type == "midas-swin2" else "dpt-swin2-large-384")
    assert reason == ("keys and shapes say so" if model_type is None else f"model_type={model_type!r} says so")


def test_other_windows_of_the_pre_training_give_other_numbers(weight_file):
    path = weight_file("tiny_dpt_swin2_384_from192")
    image = midas.images(384, 384)
    default, told, other = (
        make_dpt_from_state_dict(path, model_type=model_type)[1].inference(image)
        for model_type in (None, "midas-swin2-12to24", "midas-swin2")
    )
    assert torch.equal(default, told) and (other - default).abs().max() > 0.1 * default.std()


@pytest.mark.parametrize("name", [*MIDAS, *TINY])
@pytest.mark.parametrize("model_type", ["midas-vit", "dpt-beit-base-384", "midas-swin2", "midas-swin", "depth-anything-v2"])
def test_a_type_of_another_family_is_refused(name, model_type):
    family = described(name, "x.pt")[0]["model_type"].removesuffix("-12to24")
    if model_type.replace("dpt-beit-base-384", "midas-beit") == family:
        return
    with pytest.raises(CheckpointError, match=f"model_type='{model_type}' cannot be: the keys are those of MiDaS DPT with"):
        described(name, "x.pt", model_type)


@pytest.mark.parametrize("name", NAMES)
def test_loading_from_shapes_needs_no_memory_and_knows_its_weights(name):
    """The model that stands ready for a file's tensors is made of exactly these tensors."""
    checkpoint = midas.as_checkpoint(midas.shapes_of(name), name)
    layout = recognise_layout(checkpoint)
    config, _ = describe(checkpoint, layout, None)
    model = load_weights(config, checkpoint.tensors, layout.keys, source=name)
    assert checkpoint.tensors == {} and all(parameter.is_meta for parameter in model.parameters())
