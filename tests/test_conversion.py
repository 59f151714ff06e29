"""Conversion is total and shape-exact: every key of a file is used, listed as unused, or named in an error."""

from functools import cache
from pathlib import Path

import pytest
import torch

from lib.checkpoints.files import Checkpoint
from lib.checkpoints.keys import KeyMap, convert_tensors
from lib.dpt_model import build_dpt
from lib.errors import CheckpointError
from lib.make_dpt import describe, load_weights, recognise_layout
from tests.reference import synthetic_checkpoint

FULL_SIZE = sorted(path.stem for path in (synthetic_checkpoint.HERE / "manifests").glob("depth_anything_v*.json"))
TINY = ["tiny_depth_anything_v1", "tiny_depth_anything_v2", "tiny_depth_anything_v2_swiglu"]
NEVER_RUN = "depth_head.scratch.refinenet4.resConfUnit1."
UNUSED = ["pretrained.mask_token"] + [
    f"{NEVER_RUN}conv{number}.{leaf}" for number in (1, 2) for leaf in ("weight", "bias")
]


def shapes_of(name: str) -> dict[str, torch.Tensor]:
    """Tensors of the manifest's shapes that take no memory."""
    keys = synthetic_checkpoint.load_manifest(name)["keys"]
    return {key: torch.empty(shape, device="meta") for key, (*shape, _) in keys.items()}


def load(name: str, tensors: dict[str, torch.Tensor]) -> tuple[dict, torch.nn.Module]:
    """The last steps of make_dpt_from_state_dict, without a file."""
    checkpoint = Checkpoint(path=Path(f"{name}.pth"), tensors=dict(tensors))
    layout = recognise_layout(checkpoint)
    config, _ = describe(checkpoint, layout, None)
    return config, load_weights(config, checkpoint.tensors, layout.keys, source=f"{name}.pth")


@cache
def empty_model(name: str) -> torch.nn.Module:
    config, _ = load(name, shapes_of(name))
    with torch.device("meta"):
        return build_dpt(config)


@pytest.mark.parametrize("name", FULL_SIZE + TINY)
def test_every_key_is_mapped_or_listed_as_unused(name):
    tensors = shapes_of(name)
    keys = recognise_layout(Checkpoint(path=Path(name), tensors=tensors)).keys
    targets = {key: keys.convert(key, tensor) for key, tensor in tensors.items()}
    unused = [key for key, pieces in targets.items() if pieces == []]
    used = [target for pieces in targets.values() for target, _ in pieces]
    assert sorted(unused) == sorted(UNUSED)
    assert sorted(used) == sorted(empty_model(name).state_dict())  # one to one: nothing twice, nothing left over


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_checkpoints_fit_the_model_they_describe(name):
    tensors = shapes_of(name)
    config, model = load(name, tensors)
    used = sum(tensor.numel() for key, tensor in tensors.items() if key not in UNUSED)
    assert sum(parameter.numel() for parameter in model.parameters()) == used
    size = name[-1]
    features, blocks, feed_forward = {
        "s": (384, 12, "gelu"),
        "b": (768, 12, "gelu"),
        "l": (1024, 24, "gelu"),
        "g": (1536, 40, "swiglu"),
    }[size]
    encoder = config["imgencoder"]
    assert (encoder["features"], encoder["num_blocks"], encoder["feed_forward"]) == (features, blocks, feed_forward)
    assert (encoder["heads"], encoder["table_side"], config["patch_embed"]["patch_size"]) == (features // 64, 37, 14)
    v2_taps = {12: [2, 5, 8, 11], 24: [4, 11, 17, 23], 40: [9, 19, 29, 39]}[blocks]
    assert encoder["taps"] == (list(range(blocks - 4, blocks)) if "_v1_" in name else v2_taps)


SMALL, SWIGLU = TINY[1:]


def tried_keys(name: str, *blocks: int) -> list[tuple[str, str]]:
    """The keys of these blocks and all that lie outside the blocks: the tests below load once for each."""
    prefixes = tuple(f"pretrained.blocks.{block}." for block in blocks)
    keys = [key for key in shapes_of(name) if key.startswith(prefixes) or ".blocks." not in key]
    return [(name, key) for key in keys if key not in UNUSED]


ALL_TRIED = tried_keys(SMALL, 0) + [pair for pair in tried_keys(SWIGLU, 7) if ".mlp." in pair[1]]


def complaint_about(name: str, tensors: dict[str, torch.Tensor]) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(name, tensors)
    message = str(caught.value)
    assert message.startswith(f"{name}.pth: ") and "\n" not in message
    return message


@pytest.mark.parametrize("name, key", ALL_TRIED)
def test_a_missing_key_is_named(name, key):
    tensors = shapes_of(name)
    del tensors[key]
    message = complaint_about(name, tensors)
    assert f"missing {key}" in message or f"missing key {key}" in message


@pytest.mark.parametrize("name, layer", [(SMALL, "fc1"), (SWIGLU, "w12")])
def test_a_missing_layer_has_the_name_that_it_has_in_other_blocks(name, layer):
    keys = [f"pretrained.blocks.7.mlp.{layer}.{leaf}" for leaf in ("weight", "bias")]
    tensors = {key: tensor for key, tensor in shapes_of(name).items() if key not in keys}
    assert f"missing keys {', '.join(keys)}" in complaint_about(name, tensors)


@pytest.mark.parametrize("name, key", ALL_TRIED)
def test_a_changed_shape_is_named(name, key):
    """One more in any dimension. Where sizes are read from the shape, the complaint is about what no longer fits."""
    shape = list(shapes_of(name)[key].shape)
    for dim in range(len(shape)):
        tensors = shapes_of(name)
        tensors[key] = torch.empty([*shape[:dim], shape[dim] + 1, *shape[dim + 1 :]], device="meta")
        message = complaint_about(name, tensors)
        decides_sizes = key in SIZE_KEYS
        assert decides_sizes or f"{key} has shape" in message


SIZE_KEYS = (
    "pretrained.patch_embed.proj.weight",
    "pretrained.pos_embed",
    "pretrained.blocks.0.mlp.fc1.weight",
    *(f"depth_head.projects.{stage}.weight" for stage in range(4)),
    "depth_head.scratch.layer1_rn.weight",
    "depth_head.scratch.output_conv1.weight",
    "depth_head.scratch.output_conv2.0.weight",
)


@pytest.mark.parametrize("name, key", ALL_TRIED)
def test_a_tensor_with_too_few_dimensions_is_named(name, key):
    tensors = shapes_of(name)
    tensors[key] = torch.empty([], device="meta")
    message = complaint_about(name, tensors)
    assert f"{key} has shape []" in message


@pytest.mark.parametrize(
    "key",
    [
        "pretrained.head.weight",
        "pretrained.blocks.3.attn.q_norm.weight",
        "pretrained.blocks.12.norm1.weight",  # makes it look one block deeper
        "pretrained.blocks.03.norm1.weight",
        "pretrained.blocks.5.mlp.w12.weight",  # of a SwiGLU model; here it would take the place of mlp.fc1
        "depth_head.scratch.refinenet5.out_conv.weight",
        "depth_head.projects.4.weight",
        "imgencoder.blocks.0.norm_1.weight",  # our own name
    ],
)
def test_an_unknown_key_is_named(key):
    tensors = shapes_of(SMALL) | {key: torch.empty(512, 128, device="meta")}
    message = complaint_about(SMALL, tensors)
    assert key in message or "missing keys pretrained.blocks.12." in message


def test_all_complaints_come_at_once():
    tensors = shapes_of(SMALL) | {"extra": torch.empty(1, device="meta")}
    del tensors["pretrained.cls_token"]
    tensors["pretrained.norm.bias"] = torch.empty(3, device="meta")
    message = complaint_about(SMALL, tensors)
    assert "unexpected key extra" in message and "missing key pretrained.cls_token" in message
    assert "pretrained.norm.bias has shape [3], but the rest of the file asks for [128]" in message


@pytest.mark.parametrize("count", [4, 60])
def test_long_lists_of_keys_are_cut(count):
    tensors = shapes_of(SMALL) | {f"extra.{number}": torch.empty(1, device="meta") for number in range(count)}
    assert f"extra.0, extra.1, extra.2 and {count - 3} more" in complaint_about(SMALL, tensors)


# Tensors that a release stores in three parts

PARTS = KeyMap({"q.": "qkv.~0.", "k.": "qkv.~1.", "v.": "qkv.~2."})


def parts(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    whole = {f"{name}.weight": torch.full((2, 3), float(number)) for number, name in enumerate("qkv")}
    return whole | {f"{name}.weight": tensor for name, tensor in changes.items()}


EXPECTED = {"qkv.weight": torch.empty(6, 3, device="meta")}


def test_parts_are_joined_in_order():
    fitting, complaints = convert_tensors(dict(reversed(parts().items())), PARTS, EXPECTED)
    assert complaints == [] and fitting["qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", "qkv")
@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2,), ()], ids=str)
def test_a_part_of_another_shape_is_named(name, shape):
    _, complaints = convert_tensors(parts(**{name: torch.zeros(shape)}), PARTS, EXPECTED)
    assert complaints == [f"{name}.weight has shape {list(shape)}, but the rest of the file asks for [2, 3]"]


@pytest.mark.parametrize("names", ["q", "kv", "qkv"])
def test_missing_parts_are_named(names):
    present = {key: tensor for key, tensor in parts().items() if key[0] not in names}
    _, complaints = convert_tensors(present, PARTS, EXPECTED)
    listed = ", ".join(f"{name}.weight" for name in names)
    assert complaints == [f"missing key{'s' if len(names) > 1 else ''} {listed}"]


def test_conversion_lets_go_of_what_it_has_read():
    tensors = parts()
    convert_tensors(tensors, PARTS, EXPECTED)
    assert tensors == {}
