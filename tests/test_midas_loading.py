"""Loading MiDaS files: every form gives the same model; what is damaged, unknown or not supported ends in one sentence."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib.checkpoints.files import Checkpoint
from lib.errors import CheckpointError
from lib.make_dpt import make_dpt_from_state_dict, save_dpt
from lib.model_types import MODEL_TYPES
from tests import midas
from tests.conftest import SAME, difference, paths_in, with_garbage
from tests.reference import synthetic_checkpoint

TINY = {"vit": "tiny_dpt_vit_128", "beit": "tiny_dpt_beit_128", "swin2": "tiny_dpt_swin2_128"}
IMAGE = midas.images(128, 128)


def complaint(path: Path, **options) -> str:
    """The one line that loading this file ends with."""
    with pytest.raises(CheckpointError) as caught:
        make_dpt_from_state_dict(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.isprintable()
    return message


# Forms of the same file


WRAPPINGS: dict[str, Callable[[dict], object]] = {
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 3},
    "module.": lambda weights: {f"module.{key}": tensor for key, tensor in weights.items()},
    "model": lambda weights: {"model": {f"model.{key}": tensor for key, tensor in weights.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("family", TINY)
def test_wrapping_is_taken_off(tmp_path, weight_file, family, wrapping):
    path = tmp_path / "wrapped.pt"
    torch.save(WRAPPINGS[wrapping](synthetic_checkpoint.build(TINY[family])), path)
    expected = make_dpt_from_state_dict(weight_file(TINY[family]))[1].inference(IMAGE)
    assert torch.equal(make_dpt_from_state_dict(path)[1].inference(IMAGE), expected)


@pytest.mark.parametrize("family", TINY)
def test_a_half_precision_safetensors_file_becomes_float32(tmp_path, family):
    weights = synthetic_checkpoint.build(TINY[family])
    rounded = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    save_file(rounded, tmp_path / "half.safetensors")
    _, model, _ = make_dpt_from_state_dict(tmp_path / "half.safetensors")
    _, expected = midas.load({key: x.float() if x.is_floating_point() else x for key, x in rounded.items()}, "half")
    assert model.inference(IMAGE).dtype == torch.float32 and torch.equal(model.inference(IMAGE), expected.inference(IMAGE))


@pytest.mark.parametrize("family", TINY)
def test_what_is_said_about_a_file(capsys, weight_file, family):
    make_dpt_from_state_dict(weight_file(TINY[family]))
    line = capsys.readouterr().out
    title = MODEL_TYPES[f"midas-{family}"].title
    assert line.count("\n") == 1 and title in line and "inverse depth (keys and shapes say so)" in line


def own_config(family: str) -> dict:
    """As make_dpt_from_state_dict would return it for the small model."""
    picture = asdict(MODEL_TYPES[f"midas-{family}"].picture) | {"side": 128}
    head = midas.CONFIGS[family]["head"] | {"activation": "relu", "scale": 1.0}
    names = {"model_type": f"midas-{family}", "release": None, "output": midas.OUTPUT}
    return json.loads(json.dumps(midas.CONFIGS[family] | {"head": head, "picture": picture} | names))


@pytest.mark.parametrize("family", midas.FAMILIES)
def test_save_dpt_and_load_again(tmp_path, family):
    model, config = midas.small_model(family), own_config(family)
    save_dpt(tmp_path / "mine.safetensors", config, model)
    again_config, again, imgproc = make_dpt_from_state_dict(tmp_path / "mine.safetensors")
    assert again_config == config and asdict(imgproc.rule) | {"mean": [0.5] * 3, "std": [0.5] * 3} == config["picture"]
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    # The weights are the file's memory itself, at other addresses than PyTorch would choose: products may round differently.
    assert difference(again.inference(IMAGE), model.inference(IMAGE)) <= SAME and again.output == model.output


@pytest.mark.parametrize("told", ["depth-anything-v2", "midas-beit", "dpt-swin2-tiny-256", "depth_anything"])
def test_a_config_beside_the_weights_must_not_contradict_their_keys(tmp_path, told):
    path = tmp_path / "dpt.pt"
    torch.save(synthetic_checkpoint.build("tiny_dpt_vit_128"), path)
    path.with_suffix(".json").write_text(json.dumps({"model_type": "midas-vit"}))
    assert make_dpt_from_state_dict(path)[0]["model_type"] == "midas-vit"
    path.with_suffix(".json").write_text(json.dumps({"model_type": told}))
    message = complaint(path)
    assert told in message and "cannot be: the keys are those of MiDaS DPT with a ViT" in message


# Not supported, or damaged


def write(path: Path, keys: list[str]) -> Path:
    torch.save({key: torch.zeros(3) for key in keys}, path)
    return path


@pytest.mark.parametrize(
    "keys, told",
    [
        (["pretrained.model.stem.0.conv.weight", "pretrained.model.features.0.norm.weight"], "MiDaS 3.1 with a Next-ViT"),
        (["pretrained.layer1.0.weight", "pretrained.layer4.0.conv1.weight"], "MiDaS 2.1, which is a convolutional network"),
    ],
)
def test_published_models_that_are_not_built_here_are_named(tmp_path, keys, told):
    decoder = ["scratch.layer1_rn.weight", "scratch.refinenet1.out_conv.weight", "scratch.output_conv.0.weight"]
    message = complaint(write(tmp_path / "dpt.pt", keys + decoder))
    assert told in message and "not supported" in message and keys[0] in message


@pytest.mark.parametrize(
    "keys, told",
    [
        (["pretrained.model.blocks.0.norm1.weight"], "fit none of the layouts"),  # an encoder alone
        (["scratch.layer1_rn.weight"], "fit none of the layouts"),  # a decoder alone
        (["pretrained.model.blocks.0.norm1.weight", "scratch.layer1_rn.weight"], "missing pretrained.model.cls_token"),
        (["pretrained.model.layers.0.blocks.0.norm1.weight", "scratch.layer1_rn.weight"], "layers.0.blocks.1.attn_mask"),
        (
            ["pretrained.model.blocks.0.c.weight", "scratch.stem_transpose.0.c.weight"],
            "missing pretrained.model.patch_embed.0.c",
        ),
    ],
)
def test_a_fragment_is_refused(tmp_path, keys, told):
    assert told in complaint(write(tmp_path / "part.pt", keys))


@pytest.mark.parametrize("family", TINY)
def test_a_file_that_was_cut_short(tmp_path, weight_file, family):
    content = weight_file(TINY[family]).read_bytes()
    path = tmp_path / "dpt.pt"
    for length in (20, len(content) // 3, len(content) - 30):
        path.write_bytes(content[:length])
        assert "damaged" in complaint(path)


def changed(name: str, key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    weights = synthetic_checkpoint.build(name)
    return weights | {key: change(weights[key])}


BLOCK = "pretrained.model.blocks.0."
LAYER = "pretrained.model.layers.{}.blocks.0."


@pytest.mark.parametrize(
    "name, key, change, told",
    [
        ("tiny_dpt_beit_128", BLOCK + "attn.relative_position_bias_table", lambda x: x * float("nan"), "NaN"),
        ("tiny_dpt_beit_128", BLOCK + "attn.relative_position_bias_table", lambda x: x[:-1], "relative_position_bias_table"),
        ("tiny_dpt_beit_128", BLOCK + "attn.relative_position_bias_table", lambda x: x[:, :1], "relative_position_bias_table"),
        ("tiny_dpt_beit_128", BLOCK + "attn.q_bias", lambda x: x[:5], "attn.q_bias has shape [5]"),
        ("tiny_dpt_vit_128", "pretrained.model.pos_embed", lambda x: x[:, :-1], "pos_embed has shape"),
        ("tiny_dpt_vit_128", "pretrained.model.cls_token", lambda x: x[..., :60], "multiple of 64"),
        ("tiny_dpt_swin2_128", LAYER.format(1) + "attn.logit_scale", lambda x: x[:0], "attn.logit_scale"),
        ("tiny_dpt_swin2_128", LAYER.format(1) + "attn.logit_scale", lambda x: torch.ones(3, 1, 1), "3 attention heads"),
        ("tiny_dpt_swin2_128", "pretrained.model.layers.0.blocks.1.attn_mask", lambda x: x[:, :25, :25], "cannot be cut"),
        ("tiny_dpt_swin2_128", "pretrained.model.layers.0.blocks.1.attn_mask", lambda x: x[:1, :1, :1], "cannot be cut"),
        ("tiny_dpt_swin2_128", "scratch.layer4_rn.weight", lambda x: x.sum(), "scratch.layer4_rn.weight has shape []"),
    ],
)
def test_damaged_tensors_are_named(tmp_path, name, key, change, told):
    path = tmp_path / "dpt.pt"
    torch.save(changed(name, key, change), path)
    assert told in complaint(path)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("family", [family for family in midas.FAMILIES if family != "vit"])
def test_no_own_config_leads_to_a_traceback(monkeypatch, family):
    """Each value of the encoder's sections, replaced by each kind of garbage: refused in one sentence, or a model that runs."""
    weights, config = midas.small_model(family).state_dict(), own_config(family)
    paths = [path for path in paths_in(config) if path[0] in ("encoder", "patch_embed", "imgencoder")]
    checkpoints = (
        (path, Checkpoint(path=Path("mine.safetensors"), tensors=dict(weights), own_config=garbage))
        for path, garbage in with_garbage(config, paths)
    )
    assert midas.assert_no_traceback(monkeypatch, checkpoints, IMAGE) > 6 * len(paths)
